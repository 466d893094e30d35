"""Prove a restore by PostgreSQL's own tools, where there is no pgBackRest; no backup system.

The repository is a folder on this machine: `wal/` with gzipped segments, and for each backup a
folder with a description beside it. The description is written last and makes the backup complete.
"""

import fcntl
import gzip
import json
import shlex
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..atomic import replacing
from .errors import RecoveryError
from .programs import account, hand_over, libpq, program, run
from .server import archive_by, archiving, connected, describe
from .settings import BackupSettings
from .tool import Backup, Kind, Target
from .wal import HISTORY, SEGMENT, Archive, lsn, segment

DESCRIPTION = ".json"
INCREMENTAL_SINCE = 17


class Exercise:
    """`BACKUP_TOOL=exercise`: pg_basebackup, pg_combinebackup, pg_verifybackup and gzip."""

    name = "PostgreSQL's own tools"
    exercise = True

    def __init__(self, settings: BackupSettings) -> None:
        self._settings = settings
        self._folder = settings.folder()
        self._wal = self._folder / "wal"

    def backups(self) -> list[Backup]:
        found = []
        for file in sorted(self._folder.glob(f"2*{DESCRIPTION}")):
            row = json.loads(file.read_text(encoding="utf-8"))
            moments = {name: datetime.fromisoformat(row[name]) for name in ("started", "stopped")}
            found.append(Backup(**row | moments))
        return found

    def archive(self) -> Archive:
        names = {file.name.removesuffix(".gz"): file for file in self._wal.glob("*.gz")}
        histories = {
            int(name[:8], 16): gzip.decompress(file.read_bytes()).decode()
            for name, file in names.items()
            if HISTORY.fullmatch(name)
        }
        return Archive(frozenset(filter(SEGMENT.fullmatch, names)), histories)

    def encrypted(self) -> bool:
        return False

    def environment(self) -> Mapping[str, str]:
        return {}

    def prepare(self) -> str:
        self._wal.mkdir(parents=True, exist_ok=True)
        hand_over(self._wal, account(self._settings))
        url = self._settings.connection()
        with connected(url) as connection:
            version = describe(connection).version // 10_000
        more = {"summarize_wal": "on"} if version >= INCREMENTAL_SINCE else {}
        if archive_by(url, self._archive_command(), **more):
            return f"The server archives into {self._wal}."
        return "Restart the server: it archives from then on."

    def _archive_command(self) -> str:
        # After a crash the server archives a segment again: the same content is no error.
        folder = shlex.quote(str(self._wal)).replace("%", "%%")
        return (
            f'f={folder}/%f.gz; if [ -e "$f" ]; then gzip -dc "$f" | cmp -s - "%p"; else '
            'gzip -1c "%p" > "$f.part" && mv "$f.part" "$f"; fi'
        )

    def _restore_command(self) -> str:
        # An exit code above 125 stops the recovery; any other means that the WAL ends here.
        folder = shlex.quote(str(self._wal)).replace("%", "%%")
        return f'f={folder}/%f.gz; [ -e "$f" ] || exit 1; gzip -dc "$f" > "%p" || exit 126'

    def run(self, kind: Kind) -> Backup:
        with self._alone():
            present = self.backups()
            for left in self._folder.glob("2*"):
                if left.is_dir() and left.name not in {backup.label for backup in present}:
                    shutil.rmtree(left)  # a run that was killed left it
            prior = present[-1] if kind is Kind.INCREMENTAL and present else None
            self._refuse(kind, prior)
            started = datetime.now(UTC)
            label = f"{started:%Y%m%d-%H%M%S-%f}-{kind}"
            folder = self._folder / label
            bare, password = libpq(self._settings.connection())
            base = []
            if prior is not None:
                base = [f"--incremental={self._folder / prior.label / 'backup_manifest'}"]
            run(
                [
                    program(self._settings, "pg_basebackup"),
                    *(f"--pgdata={folder}", f"--dbname={bare}", f"--label={label}"),
                    # The WAL comes only from the archive; else nothing would prove it is there.
                    *("--wal-method=none", "--checkpoint=fast", "--no-password", "--no-sync"),
                    *base,
                ],
                f"The {kind} backup",
                env=password,
            )
            with connected(self._settings.connection()) as connection:
                size = describe(connection).segment_size
            backup = _described(label, prior, folder, started, size)
            with replacing(self._folder / f"{label}{DESCRIPTION}") as part:
                row = asdict(backup) | {
                    "started": backup.started.isoformat(),
                    "stopped": backup.stopped.isoformat(),
                }
                part.write_text(json.dumps(row, indent=2), encoding="utf-8")
            self.expire(datetime.now(UTC))
            return backup

    def _refuse(self, kind: Kind, prior: Backup | None) -> None:
        with connected(self._settings.connection()) as connection:
            version, now = describe(connection).version // 10_000, archiving(connection)
        if now.mode == "off" or now.broken:
            # pg_basebackup would wait for the archive for ever.
            raise RecoveryError(
                "The server's WAL does not reach the archive; type `backup prepare`."
                " If that was done, read its log."
            )
        if kind is Kind.FULL:
            return
        if prior is None:
            raise RecoveryError("There is no full backup yet; type `backup run full` first.")
        if version < INCREMENTAL_SINCE:
            raise RecoveryError(
                f"PostgreSQL {version} makes no incremental backups with its own tools; pgBackRest "
                "does, or type `backup run full`."
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RecoveryError(
                    f"Another backup into {self._folder} is running; wait for it."
                ) from None
            yield

    def expire(self, now: datetime) -> None:
        """Drop the backups and the WAL that no moment within the retention needs."""
        oldest = now - timedelta(days=self._settings.retention_days)
        backups = self.backups()
        full = [one for one in backups if one.kind is Kind.FULL and one.stopped <= oldest]
        if not full:
            return
        for backup in backups:
            if backup.started < full[-1].started:
                (self._folder / f"{backup.label}{DESCRIPTION}").unlink()
                shutil.rmtree(self._folder / backup.label)
        for file in self._wal.glob("*.gz"):
            # As pg_archivecleanup does, on every timeline; history files stay.
            if SEGMENT.fullmatch(file.name[:24]) and file.name[8:24] < full[-1].start[8:]:
                file.unlink()

    def verify(self) -> list[str]:
        faults = []
        for file in sorted(self._wal.glob("*.gz")):
            try:
                with gzip.open(file) as content:
                    while content.read(1 << 20):
                        pass
            except (OSError, EOFError, zlib.error) as error:
                faults.append(f"{file.name} of the WAL is damaged: {error}.")
        for backup in self.backups():
            folder = str(self._folder / backup.label)
            try:
                run(
                    [program(self._settings, "pg_verifybackup"), "-nq", folder],
                    f"Reading {backup.label}",
                )
            except RecoveryError as error:
                faults.append(str(error))
        return faults

    def restore(
        self,
        folder: Path,
        target: Target,
        backup: Backup,
        *,
        timeline: int | None = None,
        takes_over: bool = False,
    ) -> None:
        by_label = {one.label: one for one in self.backups()}
        chain = [backup]
        while (prior := chain[0].prior) is not None:
            if prior not in by_label:
                raise RecoveryError(f"{chain[0].label} builds on {prior}, which is gone.")
            chain.insert(0, by_label[prior])
        parts = [self._folder / one.label for one in chain]
        if len(parts) == 1:
            shutil.copytree(parts[0], folder, dirs_exist_ok=True, symlinks=True)
        else:
            combine = program(self._settings, "pg_combinebackup")
            folder.rmdir()  # pg_combinebackup makes it, and never links to the files that it read
            run(
                [combine, "--no-sync", f"--output={folder}", *parts],
                f"Putting together {len(parts)} backups",
            )
        settings = target.settings(timeline) | {"restore_command": self._restore_command()}
        if not takes_over:
            settings["archive_mode"] = "off"
        file = folder / "postgresql.auto.conf"
        # The backups of a server that was once restored hold the target of that restore.
        lines = file.read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if not line.startswith(("recovery_target", "restore_com"))]
        for name, value in settings.items():
            lines.append(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'")
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "recovery.signal").touch()
        folder.chmod(0o700)
        hand_over(folder, account(self._settings))


def _described(
    label: str, prior: Backup | None, folder: Path, started: datetime, size: int
) -> Backup:
    ranges = json.loads((folder / "backup_manifest").read_bytes())["WAL-Ranges"]
    first, last = (
        segment(one["Timeline"], lsn(one[end]) // size, size)
        for one, end in ((ranges[0], "Start-LSN"), (ranges[-1], "End-LSN"))
    )
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Backup(
        label=label,
        prior=None if prior is None else prior.label,
        started=started,
        stopped=datetime.now(UTC),
        start=first,
        stop=last,
        size=used,
    )
