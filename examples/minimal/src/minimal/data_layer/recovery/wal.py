"""Which WAL segments a restore needs, and which of them are missing.

The tools' own checks say "ok" whichever segment is missing, so this check is ours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

SEGMENT = re.compile(r"[0-9A-F]{24}")
HISTORY = re.compile(r"[0-9A-F]{8}\.history")
SIZE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Archive:
    """What the archive holds.

    Attributes:
        segments: names of whole segments, 24 digits each; files whose names only begin so, such
            as `….00000028.backup` and `….partial`, are not among them.
        histories: the text of each timeline's history file.
    """

    segments: frozenset[str] = frozenset()
    histories: Mapping[int, str] = field(default_factory=dict)

    def timeline(self) -> int:
        """The newest timeline that is archived; 0 when nothing is."""
        return max((timeline_of(name) for name in self.segments), default=0)


def timeline_of(name: str) -> int:
    """The timeline in a segment's name."""
    return int(name[:8], 16)


def position(name: str, size: int = SIZE) -> int:
    """How many segments of WAL were written before the segment of that name."""
    return int(name[8:16], 16) * (2**32 // size) + int(name[16:24], 16)


def segment(timeline: int, number: int, size: int = SIZE) -> str:
    """The name of the segment at that position."""
    log, rest = divmod(number, 2**32 // size)
    return f"{timeline:08X}{log:08X}{rest:08X}"


def lsn(text: str) -> int:
    """The byte that `0/3000028` names."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def missing(archive: Archive, start: str, end: str, size: int = SIZE) -> list[str]:
    """The missing files among those that a recovery needs from segment `start` to segment `end`.

    Both are names. If the timeline switched in a segment, the newer timeline's segment is needed.
    """
    newest = timeline_of(end)
    if newest > 1 and newest not in archive.histories:
        return [f"{newest:08X}.history"]
    begins = [(timeline_of(start), 0)]
    if newest > 1:
        lines = [line.split() for line in archive.histories[newest].splitlines() if line.strip()]
        steps = [(int(line[0]), lsn(line[1]) // size) for line in lines if line[0].isdigit()]
        # Each line names a timeline and the position where it ended: there the next one begins.
        names = [step[0] for step in steps[1:]] + [newest]
        begins = [(steps[0][0], 0)] if steps else []
        begins += [(name, step[1]) for name, step in zip(names, steps, strict=True)]
    needed = (
        segment(max(begun for begun in begins if begun[1] <= number)[0], number, size)
        for number in range(position(start, size), position(end, size) + 1)
    )
    return [name for name in needed if name not in archive.segments]
