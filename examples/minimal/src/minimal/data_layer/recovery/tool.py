"""What the drill, the checks and the commands ask of the tool that makes the backups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from .errors import RecoveryError
from .wal import Archive


class Kind(StrEnum):
    """How much a backup copies."""

    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup that is complete.

    Attributes:
        label: its name in the repository.
        prior: the label of the backup that it builds on; None for a full backup.
        started: when it began, with a time zone.
        stopped: the earliest moment to which it can be restored, with a time zone.
        start: the first segment of WAL that a restore of it needs.
        stop: the last segment that a restore needs to be consistent.
        size: bytes in the repository.
    """

    label: str
    prior: str | None
    started: datetime
    stopped: datetime
    start: str
    stop: str
    size: int

    @property
    def kind(self) -> Kind:
        return Kind.FULL if self.prior is None else Kind.INCREMENTAL


@dataclass(frozen=True, slots=True)
class Target:
    """Where a restore stops: at a moment, at a named restore point, or at the end of the WAL."""

    kind: Literal["time", "name", "latest"]
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """A moment in ISO 8601 with its time zone, `latest`, or else a name.

        Raises:
            RecoveryError: the moment has no time zone, so nobody knows which one it is.
        """
        if text == "latest":
            return cls("latest")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return cls("name", text)
        if moment.tzinfo is None:
            raise RecoveryError(
                f"{text} has no time zone; write it as {moment.isoformat()}+00:00 for UTC."
            )
        return cls("time", moment.isoformat(sep=" "))

    def settings(self, timeline: int | None = None) -> dict[str, str]:
        """PostgreSQL's settings that stop a recovery there, on `timeline` or the newest one."""
        stop = {} if self.kind == "latest" else {f"recovery_target_{self.kind}": self.value}
        return stop | {
            "recovery_target_timeline": str(timeline or "latest"),
            "recovery_target_action": "promote",
        }


class Tool(Protocol):
    """What makes, keeps, reads and restores the backups of one database."""

    name: str
    exercise: bool

    def backups(self) -> list[Backup]:
        """The complete backups, the oldest first."""

    def archive(self) -> Archive:
        """The WAL that is kept."""

    def encrypted(self) -> bool:
        """Whether nobody can read the repository without a key."""

    def prepare(self) -> str:
        """Make the server archive into the repository; returns what is left to do."""

    def run(self, kind: Kind) -> Backup:
        """Make a backup, and drop what the retention needs no more."""

    def verify(self) -> list[str]:
        """Read every byte that is kept; returns a sentence for each file that has changed."""

    def restore(
        self,
        folder: Path,
        target: Target,
        backup: Backup,
        *,
        timeline: int | None = None,
        takes_over: bool = False,
    ) -> None:
        """Fill the empty folder; a server that starts there recovers to the target, then promotes.

        The files in the folder then belong to the server's user.

        Args:
            timeline: follow this timeline, not the newest one in the archive.
            takes_over: the restored server archives as the lost one did, from the promotion on;
                otherwise it archives nothing.
        """

    def environment(self) -> Mapping[str, str]:
        """Variables that the restored server needs to fetch its WAL."""


def choose(backups: Sequence[Backup], target: Target, label: str | None = None) -> Backup:
    """The backup from which a restore to that target begins.

    Raises:
        RecoveryError: no backup has that label, or none is old enough.
    """
    if label is not None:
        for backup in backups:
            if backup.label == label:
                return backup
        raise RecoveryError(f"There is no backup {label}; `backup status` lists them all.")
    if target.kind == "time":
        moment = datetime.fromisoformat(target.value)
        backups = [backup for backup in backups if backup.stopped <= moment]
    if not backups:
        raise RecoveryError(
            f"No backup is complete before {target.value or 'now'}; `backup status` lists them all."
        )
    return backups[-1]
