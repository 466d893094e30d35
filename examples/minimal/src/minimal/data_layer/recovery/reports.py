"""What a drill proved: the JSON that the next drill and the checks read, and a metric beside it."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..atomic import replacing
from .errors import RecoveryError
from .manifest import Manifest


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a drill, whether it held, and what was seen."""

    name: str
    ok: bool
    said: str
    seconds: float


@dataclass(slots=True)
class Report:
    """What a drill proved.

    Attributes:
        tool: who made the backup; `exercise` is true when the tool is no backup system.
        recovery_seconds: the time of the restore, the recovery and all checks of the copy.
        loss_seconds: how much work is lost with the server, in seconds: from its last archived
            commit to the start of the restore.
    """

    tool: str
    exercise: bool
    started: datetime
    backup: str | None = None
    recovery_seconds: float | None = None
    loss_seconds: float | None = None
    manifest: Manifest | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every step held, and the last one was reached."""
        return self.loss_seconds is not None and all(step.ok for step in self.steps)


def write(report: Report, target: Path) -> None:
    """Replace the report at `target` and its metric; the time of the last success is kept."""
    success = report.started.isoformat() if report.ok else (read(target) or {}).get("last_success")
    whole = asdict(report) | {"ok": report.ok, "last_success": success}
    with replacing(target) as part:
        part.write_text(json.dumps(whole, indent=2, default=str), encoding="utf-8")
    values: dict[str, float | None] = {
        "success": float(report.ok),
        "timestamp_seconds": datetime.now(UTC).timestamp(),
        "last_success_timestamp_seconds": datetime.fromisoformat(success).timestamp()
        if success
        else None,
        "recovery_seconds": report.recovery_seconds,
        "loss_seconds": report.loss_seconds,
    }
    with replacing(target.with_suffix(".prom")) as part:
        part.write_text(
            "".join(
                f"# TYPE backup_drill_{name} gauge\nbackup_drill_{name} {value}\n"
                for name, value in values.items()
                if value is not None
            ),
            encoding="utf-8",
        )


def read(source: Path) -> dict[str, Any] | None:
    """The last report; None when there was none.

    Raises:
        RecoveryError: it can't be read.
    """
    try:
        found: dict[str, Any] = json.loads(source.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecoveryError(f"The report {source} can't be read: {error}.") from None
    return found
