"""Which tool makes the backups, by the settings."""

from .errors import RecoveryError
from .exercise import Exercise
from .pgbackrest import PgBackRest
from .settings import BackupSettings
from .tool import Tool


def tool_of(settings: BackupSettings) -> Tool:
    """The tool that the settings name.

    Raises:
        RecoveryError: the settings name no tool, or leave the backups to the provider.
    """
    match settings.tool:
        case "pgbackrest":
            return PgBackRest(settings)
        case "exercise":
            return Exercise(settings)
        case "managed":
            raise RecoveryError(
                "BACKUP_TOOL=managed: the provider backs up and restores; do it there, and put "
                "the day of the last restore that was looked at into BACKUP_RESTORED_ON."
            )
    raise RecoveryError(
        "No backup is set up; put BACKUP_TOOL=pgbackrest into .env as docs/data-layer/recovery.md "
        "says, or BACKUP_TOOL=exercise to try it with PostgreSQL's own tools."
    )
