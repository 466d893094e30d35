"""What docs/data-layer/recovery.md tells a person to type in the night is typed here."""

import re
import shlex

import pytest
from pydantic import SecretStr

from my_project.data_layer.recovery import BackupSettings, Kind, drill
from my_project.data_layer.recovery.scratch import scratch_server
from my_project.data_layer.recovery.server import connected, describe
from tests.layer.recovery.conftest import Shop, typed

GRANTED = "postgresql://drill:of-the-night@127.0.0.1"
MOMENT = "2026-11-28T04:59:00+00:00"


@pytest.fixture
def page(pytestconfig: pytest.Config) -> str:
    path = pytestconfig.rootpath / "docs" / "data-layer" / "recovery.md"
    return path.read_text(encoding="utf-8")


def commands(page: str, disaster: str) -> list[list[str]]:
    """The layer's commands of that part of the page, without the program's name."""
    part = page.partition(f"### {disaster}\n")[2].partition("\n#")[0]
    lines = part.partition("```sh\n")[2].partition("```")[0].splitlines()
    found = [shlex.split(line)[1:] for line in lines if line.startswith("my-project ")]
    assert found
    return found


@pytest.mark.parametrize("disaster", ["A dropped table", "A lost server", "A lost region"])
def test_what_is_typed_in_the_night_brings_the_rows_back(
    living: Shop, page: str, disaster: str
) -> None:
    living.tool.run(Kind.FULL)
    living.execute("INSERT INTO notes VALUES ('of the evening')")
    moment, wanted = living.now().value, living.sums()
    if disaster == "A dropped table":
        living.execute("DROP TABLE orders")
    living.archived()
    folder = living.folder / "restored"
    here = {MOMENT: moment.replace(" ", "T"), "FOLDER": str(folder)}

    for line in commands(page, disaster):
        if line[0] != "check":  # which judges the server that takes over
            done = typed(*(here.get(word, word) for word in line))
            assert done.exit_code == 0, done.output

    with connected(living.server.url) as connection:
        of = describe(connection)
    with (
        scratch_server(living.settings, folder, of, {}) as copy,
        connected(copy.url("postgres")) as connection,
    ):
        rows = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert rows == (wanted["public.orders"].rows,)


def test_a_corrupted_page_is_found_in_the_copy_by_what_the_page_says(
    living: Shop, page: str
) -> None:
    """The backup was made of a page that was broken already: its own sums are right."""
    assert [line[:2] for line in commands(page, "A corrupted page")] == [
        ["backup", "verify"],
        ["backup", "drill"],
    ]
    living.execute("CREATE TABLE pages AS SELECT n FROM generate_series(1, 5000) n", "CHECKPOINT")
    file = living.server.data / living.execute("SELECT pg_relation_filepath('pages')")
    living.server.stop()
    whole = file.read_bytes()
    file.write_bytes(whole[:9000] + b"rotten" + whole[9006:])
    living.server.start()
    done = typed("backup", "run", "full")

    # pg_basebackup looks at every page that it copies.
    assert done.exit_code == 2
    assert "checksum" in done.output
    assert living.tool.backups() == []


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
