"""Backups in a bucket: a real object store over HTTPS, with a certificate of its own."""

import json
import re
import signal
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from my_project.data_layer.recovery import BackupSettings
from my_project.data_layer.recovery.manifest import sums_at
from my_project.data_layer.recovery.server import connected
from tests.layer import PATIENCE
from tests.layer.recovery.conftest import SECRET, Shop, configure, opened_folder, shop, typed
from tests.layer.seaweedfs import SeaweedFS, seaweedfs

pytestmark = pytest.mark.pgbackrest

BUCKET, PREFIX = "backups", "/of/the/shop"
FIRST, SECOND = ("first", "first-of-the-safe"), ("second", "second-of-the-safe")
ZSTANDARD = b"\x28\xb5\x2f\xfd"
# How Go says that something is one.
FOLDER = 1 << 31
MAY_ALL, MAY_READ = ("Read", "List", "Write", "Tagging"), ("Read", "List")


def write_keys(folder: Path, key: tuple[str, str], may: tuple[str, ...]) -> Path:
    credentials = [{"accessKey": key[0], "secretKey": key[1]}]
    keys = {"identities": [{"name": "shop", "credentials": credentials, "actions": may}]}
    file = folder / "keys.json"
    file.write_text(json.dumps(keys), encoding="utf-8")
    return file


@dataclass
class Store:
    """An object store, and what happens to it without pgBackRest's knowledge."""

    weed: SeaweedFS
    folder: Path
    trust: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.trust = ssl.create_default_context(cafile=self.folder / "ca.pem")

    @property
    def address(self) -> str:
        return f"localhost:{self.weed.ports['s3']}"

    def accept(self, key: tuple[str, str], *, may: tuple[str, ...] = MAY_ALL) -> None:
        """Know that key and no other from now on."""
        write_keys(self.folder, key, may)
        self.weed.process.send_signal(signal.SIGHUP)
        self.wait(key)

    def wait(self, key: tuple[str, str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._knows(key):
            if self.weed.process.poll() is not None or time.monotonic() > deadline:
                self.weed.fail()
            time.sleep(0.05)

    def _knows(self, key: tuple[str, str]) -> bool:
        """Whether of a request that is signed wrongly the signature is what it refuses."""
        now = time.gmtime()
        day = time.strftime("%Y%m%d", now)
        signed = f"Credential={key[0]}/{day}/us-east-1/s3/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 {signed}, SignedHeaders=host, Signature={'0' * 64}",
            "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", now),
            "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
        }
        request = Request(f"https://{self.address}/{BUCKET}/x", headers=headers)
        try:
            urlopen(request, context=self.trust)
        except HTTPError as refused:
            return b"SignatureDoesNotMatch" in refused.read()
        except URLError:
            return False
        raise AssertionError(key)

    def ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        """What the store's own file server answers, below the bucket."""
        url = f"http://127.0.0.1:{self.weed.ports['filer']}/buckets/{BUCKET}{path}"
        headers = {"Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/octet-stream"
        with urlopen(Request(url, content, headers, method=method)) as answer:
            return bytes(answer.read())

    def files(self) -> dict[str, int]:
        """The size of each object, by its path in the bucket."""
        sizes: dict[str, int] = {}
        folders = [""]
        while folders:
            listing = json.loads(self.ask("GET", f"{folders.pop()}/?limit=10000"))
            for entry in listing["Entries"] or []:
                path = entry["FullPath"].removeprefix(f"/buckets/{BUCKET}")
                if entry["Mode"] & FOLDER:
                    folders.append(path)
                else:
                    sizes[path] = entry["FileSize"]
        return sizes

    def file(self, part: str) -> str:
        """The path of the largest object whose path has that part."""
        sizes = self.files()
        return max((path for path in sizes if part in path), key=sizes.__getitem__)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with opened_folder() as folder:
        # tests/deep.py installs it where this runs; where this is typed, it isn't.
        authority = import_module("trustme").CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        own = authority.issue_cert("localhost")
        own.private_key_pem.write_to_path(folder / "key.pem")
        own.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        flags = (
            f"-s3.config={write_keys(folder, FIRST, MAY_ALL)}",
            f"-s3.key.file={folder / 'key.pem'}",
            f"-s3.cert.file={folder / 'cert.pem'}",
        )
        with seaweedfs(folder, *flags) as weed:
            opened = Store(weed, folder)
            opened.wait(FIRST)
            opened.ask("POST", "/")
            yield opened


def in_bucket(store: Store, key: tuple[str, str]) -> dict[str, str]:
    """The variables that put the backups there."""
    return {
        "BACKUP_REPOSITORY": PREFIX,
        "BACKUP_S3_BUCKET": BUCKET,
        "BACKUP_S3_ENDPOINT": store.address,
        "BACKUP_S3_URI_STYLE": "path",
        "BACKUP_S3_CA_FILE": str(store.folder / "ca.pem"),
        "BACKUP_S3_KEY": key[0],
        "BACKUP_S3_KEY_SECRET": key[1],
    }


@pytest.fixture(scope="module")
def kept(store: Store, debian: Path) -> Iterator[Shop]:
    """A full backup, an incremental one, and some WAL behind them, in the bucket."""
    variables = in_bucket(store, FIRST)
    with opened_folder() as folder, shop(folder, debian=debian, bucket=variables) as opened:
        opened.execute(
            "CREATE SCHEMA shop",
            "ALTER TABLE orders SET SCHEMA shop",
            "ALTER TABLE notes SET SCHEMA shop",
        )
        for kind in ("full", "incremental"):
            done = typed("backup", "run", kind)
            assert done.exit_code == 0, done.output
            opened.execute("INSERT INTO shop.notes VALUES ('of the hour')")
        for _ in range(2):
            opened.archived()
        assert not [*opened.repository.iterdir()]
        yield opened


@pytest.mark.standard("DL-BK-01", "DL-BK-02", "DL-BK-03", "DL-BK-05", "DL-BK-07", "DL-BK-08")
def test_a_day_of_backups_in_a_bucket_is_read_proved_and_restored(kept: Shop, store: Store) -> None:
    full, incremental = kept.tool.backups()
    status = typed("backup", "status")
    assert status.exit_code == 0, status.output
    assert incremental.label in status.output
    verified = typed("backup", "verify")
    assert "Backups read: 2. All is as it was written." in verified.output, verified.output
    drilled = typed("backup", "drill")
    assert drilled.exit_code == 0, drilled.output
    checked = typed("check", "--only", "DL-BK")
    assert checked.exit_code == 0, checked.output
    assert f"The repository is in the bucket {BUCKET}, encrypted." in checked.output

    moment, wanted = kept.now(), kept.sums()
    kept.execute("DROP TABLE shop.orders")
    kept.archived()
    folder = kept.folder / "evening"
    done = typed("backup", "restore", "--to", moment.value, "--into", str(folder), "--yes")
    assert done.exit_code == 0, done.output
    assert f"Restore {incremental.label} of" in done.output
    with kept.recovered(folder) as copy, connected(copy) as connection:
        assert dict(sums_at(connection)) == wanted
    assert "shop.orders" in wanted.keys() - kept.sums().keys()

    files = store.files()
    assert {part for path in files for part in path.split("/")} >= {full.label, incremental.label}
    for path in files:
        assert not store.ask("GET", path).startswith((ZSTANDARD, b"[")), path


@contextmanager
def changed(store: Store, contents: Mapping[str, bytes | None]) -> Iterator[None]:
    """Let those objects hold other bytes, or be gone, for a while."""
    before = {path: store.ask("GET", path) for path in contents}
    for path, content in contents.items():
        store.ask("DELETE" if content is None else "PUT", path, content)
    try:
        yield
    finally:
        for path, content in before.items():
            store.ask("PUT", path, content)


@pytest.mark.standard("DL-BK-05")
def test_segments_that_are_gone_from_the_bucket_are_named(kept: Shop, store: Store) -> None:
    start = kept.tool.backups()[0].start
    names = sorted(name for name in kept.tool.archive().segments if name >= start)
    gone = [names[0], names[len(names) // 2], names[-1]]
    with changed(store, {store.file(f"/{name}-"): None for name in gone}):
        verified = typed("backup", "verify")
        checked = typed("check", "--only", "DL-BK-05")

    for done in (verified, checked):
        assert done.exit_code == 1
        assert f"lacks {', '.join(gone)}." in done.output


def test_a_flipped_byte_in_any_object_is_named(kept: Shop, store: Store) -> None:
    full, incremental = kept.tool.backups()[:2]
    files = {
        incremental.start: store.file(f"/{incremental.start}-"),
        full.label: store.file(f"/{full.label}/bundle/"),
        incremental.label: store.file(f"/{incremental.label}/bundle/"),
    }

    def flipped(path: str) -> bytes:
        content = bytearray(store.ask("GET", path))
        content[len(content) // 2] ^= 1
        return bytes(content)

    with changed(store, {path: flipped(path) for path in files.values()}):
        done = typed("backup", "verify")

    assert done.exit_code == 1
    for name, path in files.items():
        file = path.rpartition(name)[2]
        assert re.search(rf"^invalid .*\b{name}{re.escape(file)}", done.output, re.MULTILINE)
    assert "Make a full backup now" in done.output


def asked(*arguments: str) -> str:
    """What is answered where all is not well: a sentence, and nothing secret."""
    done = typed(*arguments)
    assert done.exit_code != 0
    for secret in (SECRET, FIRST[1], SECOND[1], "Traceback", "x-amz-"):
        assert secret not in done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("given", "cause", "remedy"),
    [
        ({"BACKUP_S3_KEY_SECRET": "wrong"}, "store answers 403", "into BACKUP_S3_KEY"),
        ({"BACKUP_S3_BUCKET": "not-there"}, "NoSuchBucket", "in BACKUP_S3_BUCKET"),
        ({"BACKUP_S3_CA_FILE": ""}, "unable to verify certificate", "in BACKUP_S3_CA_FILE"),
        ({"BACKUP_S3_CA_FILE": "/nowhere"}, "CA certificate", "the file of BACKUP_S3_CA_FILE"),
        ({"BACKUP_S3_URI_STYLE": "host"}, f"for '{BUCKET}.localhost'", "BACKUP_S3_URI_STYLE=path"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    kept: Shop,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    cause: str,
    remedy: str,
) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    for command in ("status", "prepare"):
        said = asked("backup", command)
        assert cause in said
        assert remedy in said
        assert "HINT" not in said


@pytest.mark.standard("DL-BK-04")
def test_a_key_that_is_refused_is_said_and_leaves_no_gap_behind_the_next(
    kept: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> str:
        """The segment that was refused, once the row of now is in one."""
        before = kept.execute("SELECT failed_count FROM pg_stat_archiver")
        kept.execute("INSERT INTO shop.notes VALUES ('meanwhile')", "SELECT pg_switch_wal()")
        failed = f"SELECT failed_count > {before} FROM pg_stat_archiver"
        kept.wait(lambda: kept.execute(failed))
        return str(kept.execute("SELECT last_failed_wal FROM pg_stat_archiver"))

    log = kept.server.data.with_name("server.log")
    # One that may no longer write hides nothing, and is seen by the archiver alone.
    store.accept(FIRST, may=MAY_READ)
    name = refused()
    assert f"{name} was refused last. → Read the log of the server." in asked(
        "check", "--only", "DL-BK-04"
    ).replace("│ ", "")
    assert "<Code>AccessDenied</Code>" in log.read_text(encoding="utf-8")

    store.accept(SECOND)
    assert refused() == name
    for command in (
        ("backup", "status"),
        ("backup", "verify"),
        ("backup", "run", "full"),
        ("check", "--only", "DL-BK-04"),
    ):
        said = asked(*command)
        assert "The repository can't be read: the object store answers 403, InvalidAccess" in said
        assert "into BACKUP_S3_KEY and BACKUP_S3_KEY_SECRET" in said

    for variable, value in in_bucket(store, SECOND).items():
        monkeypatch.setenv(variable, value)
    configure(kept.folder / "pgbackrest.conf", kept.server)
    kept.settings = BackupSettings()
    kept.archived()
    assert typed("backup", "run", "incremental").exit_code == 0
    ids = ("DL-BK-02", "DL-BK-03", "DL-BK-04", "DL-BK-05", "DL-BK-07")
    after = typed("check", *(part for id_ in ids for part in ("--only", id_)))
    assert after.exit_code == 0, after.output
    assert name in kept.tool.archive().segments
    assert kept.tool.verify() == []
    point, wanted = kept.point("behind the next key"), kept.sums()
    kept.archived()
    # Along the WAL that had to wait, and not from the backup behind it.
    assert kept.restored(point, kept.tool.backups()[0]) == wanted
    secrets = (SECRET, FIRST[1], SECOND[1])
    assert not [secret for secret in secrets if secret in log.read_text(encoding="utf-8")]
