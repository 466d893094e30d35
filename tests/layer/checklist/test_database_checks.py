"""The checks of the core: each passes on a sound database and fails on the fault it is for."""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from my_project.data_layer import checklist
from my_project.data_layer.checklist import (
    Finding,
    Verdict,
)
from my_project.data_layer.database import (
    checks,
    create_engine,
    session,
)
from my_project.data_layer.database.settings import DatabaseSettings
from my_project.data_layer.devservers.postgresql import (
    EmbeddedServer,
    embedded_server,
)
from tests.data_layer.fixtures import connect
from tests.layer.servers import restart

ROLE = "checked"
PASSWORD = "generated-kZ3Xh0Jc1q"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server whose settings these tests may break: the shared one is nobody's to break."""
    with embedded_server(durable=False) as server:
        yield server


@pytest.fixture
def url(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[URL]:
    """A sound database and role; the project's settings lead there."""
    with connect(server.url) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"CREATE DATABASE sound OWNER {ROLE}")
    url = server.url.set(username=ROLE, password=PASSWORD, database="sound")
    monkeypatch.chdir(tmp_path)  # a developer's .env plays no part
    configure(monkeypatch, url)
    yield url
    with connect(server.url) as connection:
        connection.execute("DROP DATABASE sound WITH (FORCE)")
        connection.execute(f"DROP ROLE {ROLE}")


def configure(monkeypatch: pytest.MonkeyPatch, url: URL) -> None:
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))


async def ask(name: str) -> Finding:
    [check] = [check for check in checks.database_checks() if check.id == name]
    report = await checklist.run([check])
    return report.results[0].finding


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("DL-PG-01", marks=pytest.mark.standard("DL-PG-01")),
        pytest.param("DL-PG-02", marks=pytest.mark.standard("DL-PG-02")),
        pytest.param("DL-PG-03", marks=pytest.mark.standard("DL-PG-03")),
        pytest.param("DL-PG-04", marks=pytest.mark.standard("DL-PG-04")),
        pytest.param("DL-PG-05", marks=pytest.mark.standard("DL-PG-05")),
        pytest.param("DL-TX-02", marks=pytest.mark.standard("DL-TX-02")),
    ],
)
async def test_a_sound_database_passes(url: URL, name: str) -> None:
    finding = await ask(name)

    assert finding.verdict is Verdict.PASSED, finding
    assert finding.remedy == ""
    assert PASSWORD not in finding.evidence


@pytest.mark.standard("DL-PG-01")
@pytest.mark.parametrize(
    ("number", "verdict"), [(150_013, Verdict.FAILED), (160_000, Verdict.PASSED)]
)
async def test_an_old_server_fails(
    url: URL, monkeypatch: pytest.MonkeyPatch, number: int, verdict: Verdict
) -> None:
    facts = replace(await checks._ask(), version_number=number)

    async def old() -> checks._Facts:
        return facts

    monkeypatch.setattr(checks, "_ask", old)

    assert (await ask("DL-PG-01")).verdict is verdict


@pytest.mark.standard("DL-PG-02")
@pytest.mark.parametrize(
    ("size", "overflow", "verdict"),
    [(48, 0, Verdict.PASSED), (40, 9, Verdict.ADVICE), (90, 8, Verdict.FAILED)],
)
async def test_a_pool_beyond_the_servers_limit_fails(
    url: URL, monkeypatch: pytest.MonkeyPatch, size: int, overflow: int, verdict: Verdict
) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", str(size))
    monkeypatch.setenv("DATABASE_MAX_OVERFLOW", str(overflow))

    finding = await ask("DL-PG-02")

    assert finding.verdict is verdict
    assert f"{size + overflow} of the 97 connections" in finding.evidence


@pytest.mark.standard("DL-PG-02")
@pytest.mark.parametrize("limited", [f"ROLE {ROLE}", "DATABASE sound"])
async def test_the_limits_of_role_and_database_count(
    url: URL, server: EmbeddedServer, limited: str
) -> None:
    with connect(server.url) as connection:
        connection.execute(f"ALTER {limited} CONNECTION LIMIT 3")

    finding = await ask("DL-PG-02")

    assert finding.verdict is Verdict.FAILED
    assert "of the 3 connections" in finding.evidence


@pytest.mark.standard("DL-PG-03")
@pytest.mark.parametrize(
    "variable",
    [
        "DATABASE_STATEMENT_TIMEOUT",
        "DATABASE_LOCK_TIMEOUT",
        "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT",
    ],
)
async def test_a_timeout_that_is_off_fails(
    url: URL, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "0")

    finding = await ask("DL-PG-03")

    assert finding.verdict is Verdict.FAILED
    assert variable in finding.remedy


@pytest.mark.standard("DL-PG-03")
async def test_a_timeout_that_the_url_switches_off_fails(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, url.set(query={"options": "-c statement_timeout=0"}))

    assert (await ask("DL-PG-03")).verdict is Verdict.FAILED


@pytest.mark.standard("DL-PG-04")
@pytest.mark.parametrize(
    ("encrypted", "mode", "verdict"),
    [
        (False, None, Verdict.FAILED),
        (True, None, Verdict.ADVICE),
        (True, "require", Verdict.ADVICE),
        (True, "verify-full", Verdict.PASSED),
    ],
)
async def test_a_plain_connection_to_another_machine_fails(
    url: URL,
    monkeypatch: pytest.MonkeyPatch,
    encrypted: bool,
    mode: str | None,
    verdict: Verdict,
) -> None:
    facts = replace(await checks._ask(), encrypted=encrypted)

    async def ask_elsewhere() -> checks._Facts:
        return facts

    monkeypatch.setattr(checks, "_ask", ask_elsewhere)
    query = {"sslmode": mode} if mode else {}
    configure(monkeypatch, url.set(host="db.example.org", query=query))

    assert (await ask("DL-PG-04")).verdict is verdict


@pytest.mark.standard("DL-PG-04")
@pytest.mark.parametrize(
    ("query", "verdict"),
    [
        ({"hostaddr": "203.0.113.5"}, Verdict.FAILED),
        ({"hostaddr": "127.0.0.1"}, Verdict.PASSED),
    ],
)
async def test_the_address_says_where_the_server_is_and_not_the_name_beside_it(
    url: URL, monkeypatch: pytest.MonkeyPatch, query: dict[str, str], verdict: Verdict
) -> None:
    facts = replace(await checks._ask(), encrypted=False)

    async def ask_elsewhere() -> checks._Facts:
        return facts

    monkeypatch.setattr(checks, "_ask", ask_elsewhere)
    configure(monkeypatch, url.set(host="localhost").update_query_dict(query))

    finding = await ask("DL-PG-04")

    assert finding.verdict is verdict
    assert query["hostaddr"] in finding.evidence


@pytest.mark.standard("DL-PG-05")
@pytest.mark.parametrize(
    ("password", "verdict"),
    [
        ("postgres", Verdict.FAILED),
        ("ChangeMe", Verdict.FAILED),
        (ROLE, Verdict.FAILED),
        ("sound", Verdict.FAILED),
        ("k3x9-2Jq", Verdict.ADVICE),
    ],
)
async def test_a_weak_password_does_not_pass(
    url: URL,
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    verdict: Verdict,
) -> None:
    with connect(server.url) as connection:
        connection.execute(f"ALTER ROLE {ROLE} PASSWORD '{password}'")
    configure(monkeypatch, url.set(password=password))

    finding = await ask("DL-PG-05")

    assert finding.verdict is verdict
    assert password not in finding.evidence.split()


@pytest.mark.standard("DL-PG-05")
async def test_a_weak_password_is_found_while_the_server_is_down(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, url.set(port=1, password="postgres"))

    assert "known default" in (await ask("DL-PG-05")).evidence


@pytest.mark.standard("DL-PG-05")
async def test_a_server_that_asks_for_no_password_fails(
    own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (own_server.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
    restart(own_server)
    monkeypatch.chdir(tmp_path)
    configure(monkeypatch, own_server.url)

    finding = await ask("DL-PG-05")

    assert finding.verdict is Verdict.FAILED
    assert "without asking for a password" in finding.evidence


@pytest.mark.standard("DL-PG-06")
async def test_statement_statistics_are_looked_for(
    own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    configure(monkeypatch, own_server.url)
    absent = await ask("DL-PG-06")
    with connect(own_server.url) as connection:
        connection.execute('CREATE SCHEMA "Statistics"')
        connection.execute('CREATE EXTENSION pg_stat_statements SCHEMA "Statistics"')
        connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    not_loaded = await ask("DL-PG-06")
    restart(own_server)
    loaded = await ask("DL-PG-06")

    assert absent.verdict is Verdict.ADVICE
    assert "not installed" in absent.evidence
    assert not_loaded.verdict is Verdict.ADVICE
    assert "not loaded" in not_loaded.evidence
    assert loaded.verdict is Verdict.PASSED


@pytest.mark.standard("DL-TX-02")
async def test_an_engine_of_another_isolation_fails(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serializable(settings: DatabaseSettings) -> AsyncEngine:
        return create_engine(settings).execution_options(isolation_level="SERIALIZABLE")

    monkeypatch.setattr(session, "create_engine", serializable)

    finding = await ask("DL-TX-02")

    assert finding.verdict is Verdict.FAILED
    assert "SERIALIZABLE" in finding.evidence


@pytest.mark.standard("DL-TX-02")
async def test_another_default_of_the_server_is_advised_against(
    url: URL, server: EmbeddedServer
) -> None:
    with connect(server.url) as connection:
        connection.execute("ALTER DATABASE sound SET default_transaction_isolation = serializable")

    finding = await ask("DL-TX-02")

    assert finding.verdict is Verdict.ADVICE
    assert "SERIALIZABLE" in finding.evidence


@pytest.mark.standard("DL-ORM-01")
@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from sqlalchemy.ext.asyncio import create_async_engine\n", ""),
        ("from .data_layer.database import create_engine\n", ""),
        ("from sqlalchemy import create_engine\n", "create_engine in code.py, line 1"),
        ("\nfrom sqlalchemy.orm import sessionmaker as s\n", "sessionmaker in code.py, line 2"),
        ("import sqlalchemy as sa\nsa.create_engine('')\n", "create_engine in code.py, line 2"),
    ],
)
async def test_a_synchronous_engine_or_session_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, found: str
) -> None:
    layer = tmp_path / "data_layer"
    layer.mkdir()
    (layer / "cli.py").write_text("from sqlalchemy import create_engine\n")
    (tmp_path / "code.py").write_text(code)
    monkeypatch.setattr(checks, "DATA_LAYER", layer)

    finding = await ask("DL-ORM-01")

    assert finding.verdict is (Verdict.FAILED if found else Verdict.PASSED)
    assert found in finding.evidence


async def test_a_server_that_is_down_fails_them_all_in_one_sentence(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, url.set(port=1))
    offline = {"DL-ORM-01", "DL-OPS-01"}
    server_checks = [check for check in checks.database_checks() if check.id not in offline]

    report = await checklist.run(server_checks)

    assert {result.finding.verdict for result in report.results} == {Verdict.FAILED}
    [sentence] = {result.finding.evidence for result in report.results}
    assert "127.0.0.1:1/sound" in sentence
    assert PASSWORD not in sentence


async def test_a_server_that_never_answers_is_waited_for_once(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configure(monkeypatch, url.set(port=silent.getsockname()[1]))
        monkeypatch.setenv("DATABASE_CONNECT_TIMEOUT", "2")

        report = await checklist.run(checks.database_checks())

        assert not report.ok
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose .env is ignored, private and repeated nowhere."""
    (tmp_path / "alembic.ini").touch()
    (tmp_path / ".gitignore").write_text(".env\n")
    (tmp_path / ".env").write_text(f"DATABASE_PASSWORD={PASSWORD}\n")
    (tmp_path / ".env").chmod(0o600)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(project: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=project, check=True)


@pytest.mark.standard("DL-OPS-01")
async def test_an_ignored_private_env_passes(project: Path) -> None:
    assert (await ask("DL-OPS-01")).verdict is Verdict.PASSED
    (project / ".env").unlink()
    assert (await ask("DL-OPS-01")).verdict is Verdict.PASSED


@pytest.mark.standard("DL-OPS-01")
async def test_an_env_that_git_would_take_fails(project: Path) -> None:
    (project / ".gitignore").write_text("*.pyc\n")

    finding = await ask("DL-OPS-01")

    assert finding.verdict is Verdict.FAILED
    assert "does not ignore .env" in finding.evidence


@pytest.mark.standard("DL-OPS-01")
async def test_a_tracked_env_fails(project: Path) -> None:
    git(project, "add", "--force", ".env")

    finding = await ask("DL-OPS-01")

    assert finding.verdict is Verdict.FAILED
    assert "git tracks .env" in finding.evidence


@pytest.mark.standard("DL-OPS-01")
async def test_a_secret_in_a_tracked_file_fails(project: Path) -> None:
    (project / "notes.md").write_text(f"The password is {PASSWORD}.\n")
    assert (await ask("DL-OPS-01")).verdict is Verdict.PASSED  # not tracked yet
    git(project, "add", "notes.md")

    finding = await ask("DL-OPS-01")

    assert finding.verdict is Verdict.FAILED
    assert "notes.md" in finding.evidence
    assert PASSWORD not in finding.evidence


# Put together, so that no scanner takes this file for one with secrets.
LEAKS = {
    "a key of AWS": "AWS_ACCESS_KEY_ID = " + "AKIA" + "Q3EGRMZZ7TLWXN4P",
    "a secret of AWS": "aws_secret_access_key: " + "Zk3bV8yTqLw0RsXnPm7Jh/fD2cAeU5iOoYt1KvBx",
    "a key of Azure": "AccountKey=" + "Ab3" * 28 + "xy==",
    "a key of Google": "AIza" + "SyD4x8Tq_7Lw0RsXnPm7JhGfD2cAeU5iOoY",
    "a token of GitHub": "ghp_" + "a1B2c3D4" * 4 + "e5F6",
    "a fine-grained token of GitHub": "github_pat_" + "11ABCDEFG0" * 8 + "_x",
    "a key of Stripe": "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "a key of a model": "sk-" + "proj-" + "Zk3bV8yTqLw0RsXnPm7J",
    "a token of GitLab": "glpat-" + "x9_Kd82hQmZ4tRw7PvLs",
    "a token of Slack": "xoxb-" + "1234567890-abcdefghij",
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "a URL's password": "postgresql://desk:" + "S3cr3tW0rdsXyz91" + "@db.example.com/desk",
}
HARMLESS = {
    "an example of AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "a URL of documentation": "postgresql://user:password@localhost/name",
    "a long word": "postgresql://user:a-word-without-digits@localhost/name",
    "a placeholder": "postgresql://user:your-Password-12@localhost/name",
    "a variable": "postgresql://user:${DATABASE_PASSWORD_2}@localhost/name",
    "a field of code": 'f"postgresql://desk:{settings.password1}@localhost/name"',
    "a hash": "sha512-" + "xAKIA" + "Q3EGRMZZ7TLWXN4Pabc" + "==",
}


@pytest.mark.standard("DL-OPS-01")
@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS.keys())
async def test_a_secret_of_any_kind_in_a_tracked_file_fails(project: Path, text: str) -> None:
    (project / "a file.md").write_text(f"# Notes\n{text}  # mine\n")
    git(project, "add", "a file.md")

    finding = await ask("DL-OPS-01")

    assert finding.verdict is Verdict.FAILED
    assert "a file.md" in finding.evidence
    assert text not in finding.evidence


@pytest.mark.standard("DL-OPS-01")
@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS.keys())
async def test_what_only_looks_like_a_secret_passes(project: Path, text: str) -> None:
    (project / "notes.md").write_text(f"{text}\n")
    git(project, "add", "notes.md")

    assert (await ask("DL-OPS-01")).verdict is Verdict.PASSED


@pytest.mark.standard("DL-OPS-01")
@pytest.mark.parametrize(
    ("line", "repeated"),
    [
        ("DATABASE_PASSWORD=chosen-by-me  # mine", "chosen-by-me"),
        ("DATABASE_PASSWORD='cho$en #by me'", "cho$en #by me"),
        ("DATABASE_URL=postgresql://me:chosen-by-me@db/mine", "chosen-by-me"),
        ("DATABASE_URL=postgresql://me:chosen%40by-me@db/mine", "chosen@by-me"),
        ("DATABASE_URL=postgresql://me:chosen%40by-me@db/mine", "chosen%40by-me"),
        ("AWS_SECRET_ACCESS_KEY=any-words-at-all", "any-words-at-all"),
        ("SOME_TOKEN=any-words-at-all", "any-words-at-all"),
        ('SOME_KEY="first\nany-words-at-all\n"', "any-words-at-all"),
    ],
)
async def test_a_secret_of_env_is_found_however_it_is_written_there(
    project: Path, line: str, repeated: str
) -> None:
    (project / ".env").write_text(f"{line}\n")
    (project / "notes.md").write_text("Nothing.\n\n")
    git(project, "add", "notes.md")
    assert (await ask("DL-OPS-01")).verdict is Verdict.PASSED

    (project / "notes.md").write_text(f'password = "{repeated}"  # do not tell\n')
    git(project, "add", "notes.md")
    finding = await ask("DL-OPS-01")

    assert finding.verdict is Verdict.FAILED
    assert "notes.md" in finding.evidence
    assert repeated not in finding.evidence


@pytest.mark.standard("DL-OPS-01")
async def test_an_env_that_others_can_read_is_advised_against(project: Path) -> None:
    (project / ".env").chmod(0o644)

    assert (await ask("DL-OPS-01")).verdict is Verdict.ADVICE


@pytest.mark.standard("DL-OPS-01")
async def test_outside_of_a_repository_the_rules_are_read(project: Path) -> None:
    (project / ".git").rename(project / "no-repository")
    assert (await ask("DL-OPS-01")).verdict is Verdict.PASSED

    (project / ".gitignore").write_text("*.pyc\n")
    assert (await ask("DL-OPS-01")).verdict is Verdict.FAILED


@pytest.mark.standard("DL-OPS-01")
async def test_git_that_does_not_want_to_look_is_no_pass(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container where another user owns the checkout."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    finding = await ask("DL-OPS-01")
    assert finding.verdict is Verdict.FAILED
    assert "dubious ownership" in finding.evidence


@pytest.mark.standard("DL-OPS-01")
async def test_a_broken_index_is_no_pass(project: Path) -> None:
    (project / ".git" / "index").write_bytes(b"no index")
    finding = await ask("DL-OPS-01")
    assert finding.verdict is Verdict.FAILED
    assert "index" in finding.evidence
