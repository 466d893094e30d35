"""Whether the archived WAL has no gap, from the oldest backup to what the server wrote last."""

from collections.abc import Sequence

from .server import Archiving, Server
from .tool import Backup
from .wal import SEGMENT, SIZE, Archive, missing, timeline_of


def gap(
    backups: Sequence[Backup],
    archive: Archive,
    server: Server | None = None,
    archiving: Archiving | None = None,
) -> list[str]:
    """The names of the files that are missing; `backups` must hold at least one backup.

    If there is a server, the file that it archived last is expected too: otherwise nobody would
    notice that the newest segment is missing.
    """
    timeline = archive.timeline() if server is None else server.timeline
    last = "" if archiving is None else (archiving.last or "")[:24]
    ends = [name for name in archive.segments if timeline_of(name) == timeline]
    ends += [last] if SEGMENT.fullmatch(last) else []
    size = SIZE if server is None else server.segment_size
    return missing(archive, backups[0].start, max([*ends, backups[-1].stop]), size)


def in_words(names: Sequence[str]) -> str:
    """The first few of the names, and how many more there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= len(names[:5]) else f"{shown} and {len(names) - 5} more"
