"""Backup and recovery: the schedule's commands, a restore, and the drill that proves it.

pgBackRest backs up a database in production. PostgreSQL's own tools serve an exercise, where there
is neither Docker nor pgBackRest. The drill and the checks are our own code, for any tool.
"""

from .adapters import tool_of
from .drill import drill
from .errors import RecoveryError
from .reports import Report
from .settings import BackupSettings
from .tool import Backup, Kind, Target, Tool

__all__ = [
    "Backup",
    "BackupSettings",
    "Kind",
    "RecoveryError",
    "Report",
    "Target",
    "Tool",
    "drill",
    "tool_of",
]
