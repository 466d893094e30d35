"""pgBackRest, called as a command: it backs up a database in production.

Where pgBackRest runs beside the server, in a container for example, BACKUP_COMMAND says how to call
it, and a configuration there says what the variables say here.
"""

import json
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import RecoveryError
from .programs import account, last_lines, libpq, run
from .server import archive_by, connected
from .settings import BackupSettings
from .tool import Backup, Kind, Target
from .wal import HISTORY, SEGMENT, Archive

# A segment's name is followed by its hash and the compression's suffix.
_WHOLE = re.compile(rf"({SEGMENT.pattern})-[0-9a-f]{{40}}(?:\.\w+)?")
OTHER_ERROR = 99
TYPES = {Kind.FULL: "full", Kind.INCREMENTAL: "incr"}

# When an object store refuses a request, pgBackRest prints every header, then the answer in XML.
_REFUSED = re.compile(r"HTTP request failed with (\d+)")
_ANSWER = re.compile(r"<Code>(\w+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
_REMEDIES = (
    ("NoSuchBucket", "Make the bucket, or name another one in BACKUP_S3_BUCKET."),
    ("RequestTimeTooSkewed", "Set the clock of this machine."),
    (
        "AuthorizationHeaderMalformed|PermanentRedirect",
        "Name the region of the bucket in BACKUP_S3_REGION.",
    ),
    (
        "ExpiredToken|InvalidToken|failed with 40[13]",
        "Put a key that may list, read, write and delete there into BACKUP_S3_KEY and "
        "BACKUP_S3_KEY_SECRET; the server archives then what it has kept meanwhile.",
    ),
    (
        "unable to verify certificate|unable to find hostname",
        "If that is the store, name what vouches for its certificate in BACKUP_S3_CA_FILE.",
    ),
    ("CA certificate location", "Let the server's user read the file of BACKUP_S3_CA_FILE."),
    (
        "unable to get address for",
        "Look at BACKUP_S3_ENDPOINT; BACKUP_S3_URI_STYLE=path leaves the bucket out of the name.",
    ),
)


class PgBackRest:
    """`BACKUP_TOOL=pgbackrest`."""

    name = "pgBackRest"
    exercise = False

    def __init__(self, settings: BackupSettings) -> None:
        self._settings = settings

    def environment(self) -> Mapping[str, str]:
        settings = self._settings
        repository = {
            "PATH": str(settings.folder()),
            "RETENTION_FULL_TYPE": "time",
            "RETENTION_FULL": str(settings.retention_days),
            "BUNDLE": "y",
            "BLOCK": "y",
        }
        if settings.s3_bucket and settings.s3_key and settings.s3_key_secret:
            repository |= {
                "TYPE": "s3",
                "PATH": f"/{settings.repository.as_posix().strip('/')}",
                "S3_BUCKET": settings.s3_bucket,
                "S3_ENDPOINT": settings.s3_endpoint,
                "S3_REGION": settings.s3_region,
                "S3_URI_STYLE": settings.s3_uri_style,
                "S3_KEY": settings.s3_key.get_secret_value(),
                "S3_KEY_SECRET": settings.s3_key_secret.get_secret_value(),
            }
            if settings.s3_ca_file:
                repository["STORAGE_CA_FILE"] = str(settings.s3_ca_file)
        if settings.encryption_secret:
            secret = settings.encryption_secret.get_secret_value()
            repository |= {"CIPHER_TYPE": "aes-256-cbc", "CIPHER_PASS": secret}
        options = {
            "STANZA": settings.stanza,
            "COMPRESS_TYPE": "zst",
            "START_FAST": "y",
            "LOG_LEVEL_FILE": "off",
            "LOG_LEVEL_CONSOLE": "warn",
            **{f"REPO1_{name}": value for name, value in repository.items()},
        }
        return {f"PGBACKREST_{name}": value for name, value in options.items()}

    def _call(self, doing: str, *arguments: str, **variables: str) -> str:
        return run(
            [*shlex.split(self._settings.command), *arguments],
            doing,
            env={**self.environment(), **variables},
            user=account(self._settings),
            reason=_reason,
        )

    def _beside_server(self) -> dict[str, str]:
        """How pgBackRest reaches the server, by a socket; elsewhere its configuration says it."""
        if len(shlex.split(self._settings.command)) > 1:
            return {}
        url = self._settings.connection()
        with connected(url) as connection:
            row = connection.execute(
                "SELECT current_setting('data_directory'), current_setting('port'),"
                " current_setting('unix_socket_directories')"
            ).fetchone()
        path, port, sockets = row or ("", "", "")
        _, password = libpq(url)
        return {
            "PGBACKREST_PG1_PATH": path,
            "PGBACKREST_PG1_PORT": port,
            "PGBACKREST_PG1_SOCKET_PATH": sockets.partition(",")[0].strip(),
            "PGBACKREST_PG1_USER": str(url.username),
            "PGBACKREST_PG1_DATABASE": str(url.database),
            **password,
        }

    def _stanza(self) -> dict[str, Any]:
        said = self._call("Reading the repository", "info", "--output=json")
        # Its messages hold bare line breaks; its exit code does not tell that something went wrong.
        found = json.loads(said, strict=False)
        for one in found:
            if one["name"] == self._settings.stanza:
                if one["status"]["code"] == OTHER_ERROR:
                    reason = _reason(" ".join(one["repo"][0]["status"]["message"].split()))
                    raise RecoveryError(f"The repository can't be read: {reason}")
                return dict(one)
        return {}

    def backups(self) -> list[Backup]:
        return [
            Backup(
                label=row["label"],
                prior=row["prior"],
                started=datetime.fromtimestamp(row["timestamp"]["start"], UTC),
                stopped=datetime.fromtimestamp(row["timestamp"]["stop"], UTC),
                start=row["archive"]["start"],
                stop=row["archive"]["stop"],
                size=row["info"]["repository"]["delta"],
            )
            for row in self._stanza().get("backup", [])
        ]

    def encrypted(self) -> bool:
        return str(self._stanza().get("cipher", "none")) != "none"

    def archive(self) -> Archive:
        ids = [one["id"] for one in self._stanza().get("archive", [])]
        if not ids:
            return Archive()
        folder = f"archive/{self._settings.stanza}/{ids[-1]}"
        listing = json.loads(
            self._call("Listing the WAL", "repo-ls", "--recurse", "--output=json", folder)
        )
        names = [path.rpartition("/")[2] for path in listing]
        histories = {
            int(name[:8], 16): self._call("Reading a history", "repo-get", f"{folder}/{name}")
            for name in names
            if HISTORY.fullmatch(name)
        }
        segments = filter(None, map(_WHOLE.fullmatch, names))
        return Archive(frozenset(found[1] for found in segments), histories)

    def prepare(self) -> str:
        self._call("Making the stanza", "stanza-create", **self._beside_server())
        command = f"pgbackrest --stanza={self._settings.stanza} archive-push %p"
        if archive_by(self._settings.connection(), command):
            return "The stanza is made, and the server archives."
        return "The stanza is made. Restart the server: it archives from then on."

    def run(self, kind: Kind) -> Backup:
        # Asked before a full backup too: of what can't be read it says no more than that.
        if not self.backups() and kind is Kind.INCREMENTAL:
            # pgBackRest would make a full one instead, with no more than a warning.
            raise RecoveryError("There is no full backup yet; type `backup run full` first.")
        self._call(f"The {kind} backup", "backup", f"--type={TYPES[kind]}", **self._beside_server())
        return self.backups()[-1]

    def verify(self) -> list[str]:
        # Its exit code is 0 whatever it finds; its text is empty when all is well.
        verify = ("Reading the repository", "verify", "--output=text")
        # Its warnings are about leftovers of an interrupted backup; the next backup uses or removes
        # them.
        said = self._call(*verify, PGBACKREST_LOG_LEVEL_CONSOLE="error").split()
        if not said:
            return []
        # Only its log has the names of the files.
        log = self._call(*verify, PGBACKREST_LOG_LEVEL_CONSOLE="info")
        return [*re.findall(r"INFO: (invalid .+)", log), " ".join(said)]

    def restore(
        self,
        folder: Path,
        target: Target,
        backup: Backup,
        *,
        timeline: int | None = None,
        takes_over: bool = False,
    ) -> None:
        archive = f"--archive-mode={'preserve' if takes_over else 'off'}"
        stop = ["--type=default"]
        if target.kind != "latest":
            stop = [f"--type={target.kind}", f"--target={target.value}", "--target-action=promote"]
        self._call(
            "Restoring",
            # The restored server fetches its WAL with the options that are arguments here.
            *("restore", f"--stanza={self._settings.stanza}", f"--pg1-path={folder}"),
            *(f"--set={backup.label}", archive),
            *(f"--target-timeline={timeline or 'latest'}", *stop),
        )


def _reason(said: str) -> str:
    """Why pgBackRest failed; and what to do, if the object store or the way to it is the cause."""
    reason = last_lines(said)
    if refused := _REFUSED.search(said):
        reason = f"the object store answers {refused[1]}"
        if answer := _ANSWER.search(said):
            reason += f", {': '.join(filter(None, answer.groups()))}"
    remedy = next((what for found, what in _REMEDIES if re.search(found, said)), "")
    # pgBackRest's own hints are about a repository that it has read.
    return f"{reason.partition(' HINT:')[0].rstrip('.')}. {remedy}" if remedy else reason
