import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from my_project.data_layer.database import DatabaseSettings
from my_project.data_layer.settings import InvalidSettings, load

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def settings(url: str, **others: object) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": url, **others})


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (SECRET, "not a URL"),
        (f"user:{SECRET}@localhost/name", "not a URL"),
        (f'"postgresql://user:{SECRET}@localhost/name"', "not a URL"),
        (f"sqlite:///{SECRET}.db", "only PostgreSQL"),
        (f"mysql://user:{SECRET}@localhost/name", "only PostgreSQL"),
        (f"postgres://user:{SECRET}@localhost/name", "begin with postgresql://"),
        (f"postgresql+asyncpg://user:{SECRET}@localhost/name", "only PostgreSQL"),
        (f"postgresql://user:{SECRET}@localhost:5432", "no database"),
        (f"postgresql://user:{SECRET}@localhost:5432/", "no database"),
        (f"postgresql://user:{SECRET}@/name", "no host"),
        ("postgresql:///name", "no host"),
        (f"postgresql://user:{SECRET}@localhost:port/name", "port is not a number"),
        (f"postgresql://user:{SECRET}@localhost:70000/name", "between 1 and 65535"),
        (f"postgresql://user:{SECRET}@localhost:0/name", "between 1 and 65535"),
        (f"postgresql://user:p@{SECRET}@localhost/name", "more than one @"),
        (f"postgresql://user:p@a/{SECRET}@localhost/name", "more than one @"),
        (f"postgresql://user@localhost/name?password={SECRET}", "in the query"),
        (f"postgresql://user:{SECRET}@one,two/name", "several hosts"),
        (f"postgresql://user:{SECRET}@/name?host=one&host=two", "several hosts"),
        (f"postgresql://user:{SECRET}@/name?host=one:5432&host=two:5433", "several hosts"),
        (f"postgresql://user:{SECRET}@/name?host=one,two", "several hosts"),
        (f"postgresql://user:{SECRET}@one/name?hostaddr=10.0.0.1,10.0.0.2", "several hosts"),
        (f"postgresql://user:{SECRET}@one/name?host=two", "host twice"),
    ],
)
def test_a_wrong_url_is_one_sentence_without_its_value(
    monkeypatch: pytest.MonkeyPatch, url: str, fault: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(InvalidSettings) as raised:
        load(DatabaseSettings)
    message = str(raised.value)
    assert message.startswith("DATABASE_URL ")
    assert fault in message
    assert "postgresql://user:password@localhost:5432/name" in message
    assert SECRET not in message
    assert raised.value.__cause__ is None


def test_a_missing_url_says_where_to_put_it() -> None:
    with pytest.raises(InvalidSettings, match=r"DATABASE_URL is not set; put it into \.env"):
        load(DatabaseSettings)


def test_a_wrong_url_in_the_env_file_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL=mysql://u:{SECRET}@localhost/name\n")
    with pytest.raises(InvalidSettings) as raised:
        load(DatabaseSettings)
    assert "DATABASE_URL in .env" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pool_size", "0"),
        ("pool_size", "many"),
        ("max_overflow", "-1"),
        ("pool_timeout", "0"),
        ("connect_timeout", "1"),
        ("statement_timeout", "-1"),
        ("lock_timeout", "nan"),
        ("idle_in_transaction_timeout", "1e9"),
        ("application_name", "x" * 64),
    ],
)
def test_a_limit_out_of_bounds_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@localhost/name")
    monkeypatch.setenv(f"DATABASE_{name.upper()}", value)
    with pytest.raises(InvalidSettings, match=f"^DATABASE_{name.upper()} .* is wrong: "):
        load(DatabaseSettings)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_the_password_is_filled_in(driver: str) -> None:
    url = settings(f"{driver}://u@localhost:5433/name", password=SECRET).sqlalchemy_url()
    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "u",
        SECRET,
        "localhost",
        5433,
        "name",
    )


def test_the_password_of_the_url_wins() -> None:
    url = settings("postgresql://u:own%40pass@localhost/name", password=SECRET).sqlalchemy_url()
    assert url.password == "own@pass"


def test_the_query_of_the_url_is_kept() -> None:
    url = settings("postgresql://u@/name?host=/run/postgresql&sslmode=require").sqlalchemy_url()
    assert url.query == {"host": "/run/postgresql", "sslmode": "require"}


def test_no_secret_is_ever_shown(caplog: pytest.LogCaptureFixture) -> None:
    shown = settings(f"postgresql://u:{SECRET}@localhost/name", password=SECRET + "too")
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("%s %r", shown, shown)
    seen = [
        repr(shown),
        str(shown),
        str(shown.model_dump()),
        shown.model_dump_json(),
        repr(shown.sqlalchemy_url()),
        str(shown.sqlalchemy_url()),
        caplog.text,
    ]
    assert not [text for text in seen if SECRET in text]
    assert isinstance(shown.url, SecretStr)


def test_the_application_is_named_after_the_package() -> None:
    name = "my-project"
    assert settings("postgresql://u@localhost/name").application_name == name


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv("SECRETS_DIRECTORY", str(folder))
    monkeypatch.setenv("DATABASE_URL", "postgresql://user@localhost/name")
    monkeypatch.delenv("DATABASE_PASSWORD", raising=False)
    return folder


def password() -> str | None:
    return load(DatabaseSettings).sqlalchemy_url().password


def test_a_secret_may_be_a_file_which_what_is_set_goes_before(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secrets / "DATABASE_PASSWORD").write_text(f"{SECRET}\n", encoding="utf-8")
    assert password() == SECRET
    (tmp_path / ".env").write_text("DATABASE_PASSWORD=of-the-env-file\n", encoding="utf-8")
    assert password() == "of-the-env-file"
    monkeypatch.setenv("DATABASE_PASSWORD", "of-the-environment")
    assert password() == "of-the-environment"
    monkeypatch.setenv("DATABASE_PASSWORD", "")
    assert password() is None


def test_a_folder_for_secrets_that_is_not_there_is_none(
    secrets: Path, recwarn: pytest.WarningsRecorder
) -> None:
    secrets.rmdir()
    assert password() is None
    assert list(recwarn) == []


def test_a_secret_that_is_no_text_is_a_sentence(secrets: Path) -> None:
    (secrets / "DATABASE_PASSWORD").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match=r"can't be read: .*\"password\".*a file in /"):
        password()


def test_a_secret_that_is_wrong_is_not_quoted(secrets: Path) -> None:
    (secrets / "DATABASE_POOL_SIZE").write_text(SECRET, encoding="utf-8")
    with pytest.raises(InvalidSettings, match="DATABASE_POOL_SIZE") as raised:
        password()
    assert SECRET not in str(raised.value)
