"""What docs/data-layer/recovery.md tells a person to type in the night is typed here."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from my_project.data_layer.recovery import BackupSettings, Kind, drill
from my_project.data_layer.recovery.server import connected
from tests.layer import PATIENCE
from tests.layer.recovery.conftest import EXERCISE, NEWEST, Shop, typed
from tests.layer.servers import free_port

GRANTED = "postgresql://drill:of-the-night@127.0.0.1"
MOMENT, PORT = "2026-11-28T04:59:00+00:00", "5499"


@pytest.fixture
def page(pytestconfig: pytest.Config) -> str:
    path = pytestconfig.rootpath / "docs" / "data-layer" / "recovery.md"
    return path.read_text(encoding="utf-8")


@dataclass
class Night:
    """A person at a shell, with the page."""

    shop: Shop
    page: str

    def type(self, disaster: str, folder: Path, moment: str = "") -> str:
        """Type what the page says of the disaster, and return what was answered."""
        part = self.page.partition(f"### {disaster}\n")[2].partition("\n#")[0]
        lines = part.partition("```sh\n")[2].partition("```")[0].splitlines()
        # The checks of the whole project want its tables; those of backups are asked below.
        lines = [line for line in lines if not re.fullmatch(r"git clone .*|my-project check", line)]
        assert len(lines) > 3
        here = {MOMENT: moment, PORT: str(free_port()), "FOLDER": str(folder)}
        script = "\n".join(lines).replace("DATABASE", "postgres")
        for word, meant in here.items():
            script = script.replace(word, meant)
        url = self.shop.server.url
        own_server = {"PGHOST": url.host, "PGPORT": str(url.port), "PGUSER": url.username}
        answers = self.shop.folder / "answers"
        with answers.open("wb") as file:  # a server that was started keeps a pipe open
            done = subprocess.run(
                ["sh", "-ex", "-c", script],
                env=os.environ
                | {name: text or "" for name, text in own_server.items()}
                | {
                    "PGPASSWORD": url.password or "",
                    "PGBACKREST_CONFIG": str(self.shop.folder / "pgbackrest.conf"),
                    "PATH": self._path(),
                    "COLUMNS": "200",
                },
                cwd=self.shop.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=PATIENCE,
            )
        said = answers.read_text(encoding="utf-8")
        assert done.returncode == 0, said
        return said

    def _path(self) -> str:
        """PostgreSQL's programs and the project's, the first as whoever runs the server."""
        programs = self.shop.folder / "programs"
        programs.mkdir()
        owner = self.shop.repository.stat()
        as_owner = f"setpriv --reuid={owner.st_uid} --clear-groups " if os.geteuid() == 0 else ""
        for name in ("pg_ctl", "pg_isready", "pg_amcheck", "pg_dump", "psql"):
            program = self.shop.settings.postgres_bin / name  # type: ignore[operator]
            (programs / name).write_text(
                f'#!/bin/sh\nexec {as_owner}{shlex.quote(str(program))} "$@"\n', encoding="utf-8"
            )
            (programs / name).chmod(0o755)
        own = (programs, Path(sys.executable).parent, self.shop.folder / "bin")
        return os.pathsep.join([*map(str, own), os.environ["PATH"]])

    def end(self) -> None:
        """Stop the server that took over."""
        program = self.shop.folder / "programs" / "pg_ctl"
        data = self.shop.server.data
        subprocess.run([program, "-D", data, "-m", "immediate", "stop"], check=True)


@pytest.fixture
def night(saved: Shop, page: str) -> Night:
    """A full backup, and rows of the evening that are in the WAL alone."""
    saved.tool.run(Kind.FULL)
    saved.execute("INSERT INTO notes VALUES ('of the evening')")
    return Night(saved, page)


both = pytest.mark.parametrize("saved", [EXERCISE, NEWEST], indirect=True)


@both
def test_a_dropped_table_is_brought_over(night: Night) -> None:
    moment, wanted = night.shop.now(), night.shop.sums()
    night.shop.execute("DROP TABLE orders", "INSERT INTO notes VALUES ('of the morning')")
    night.shop.archived()
    night.type("A dropped table", night.shop.folder / "copy", moment.value.replace(" ", "T"))
    found = night.shop.sums()
    assert found["public.orders"] == wanted["public.orders"]
    assert found["public.notes"].rows == wanted["public.notes"].rows + 1


@both
@pytest.mark.parametrize("disaster", ["A lost server", "A lost region"])
def test_a_new_server_takes_over(night: Night, disaster: str) -> None:
    shop = night.shop
    wanted = shop.sums()
    shop.archived()
    shop.server.stop()
    shutil.rmtree(shop.server.data)
    said = night.type(disaster, shop.server.data)
    try:
        assert "The archive is judged without it." in said
        assert shop.sums() == wanted
        shop.archived()
        only = ("DL-BK-02", "DL-BK-03", "DL-BK-04", "DL-BK-05")
        checked = typed("check", *(part for one in only for part in ("--only", one)))
        assert checked.exit_code == 0, checked.output
    finally:
        night.end()


@both
def test_a_corrupted_page_is_whole_in_the_copy(night: Night) -> None:
    shop = night.shop
    wanted = shop.sums()
    shop.archived()
    shop.execute("CHECKPOINT")  # or the WAL would mend the page when the server starts
    file = shop.server.data / shop.execute("SELECT pg_relation_filepath('orders')")
    shop.server.stop()
    whole = file.read_bytes()
    file.write_bytes(whole[:9000] + b"rotten" + whole[9006:])
    shop.server.start()
    drilled = typed("backup", "drill")
    assert drilled.exit_code == 1
    assert "public.orders can't be read: invalid page in block 1" in drilled.output
    # It gets into no backup: the tool looks at every page that it copies.
    if shop.tool.exercise:
        assert "checksum" in typed("backup", "run", "full").output

    night.type("A corrupted page", shop.folder / "copy")
    assert shop.sums() == wanted


def test_the_grants_of_the_page_suffice_for_the_drill(living: Shop, page: str) -> None:
    living.tool.run(Kind.FULL)
    [block] = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    living.execute(*block.replace("…", "of-the-night").strip().split(";\n"))
    url = f"{GRANTED}:{living.server.url.port}/postgres"
    settings = BackupSettings(url=SecretStr(url))

    report = drill(settings, living.tool)
    assert report.ok, report.steps
    with connected(settings.connection()) as connection:
        row = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False,)
