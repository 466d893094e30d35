"""How large a file may be to stand in git: the standard's guidelines."""

from dataclasses import dataclass
from pathlib import Path

from . import git
from .tree import DataTree, Folder, printable

MEGABYTE = 1_000_000
SAMPLES_LIMIT = 10 * MEGABYTE
LFS_FROM = 10 * MEGABYTE
NEVER_FROM = 100 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the sizes of tracked files amount to; each entry is a sentence about one file.

    Attributes:
        refused: must not go into git.
        suggested: may, but Git LFS would be better.
        samples: bytes of the samples in total.
    """

    refused: tuple[str, ...]
    suggested: tuple[str, ...]
    samples: int


def judge(project: Path, tree: DataTree) -> Sizes:
    """Judge what the next commit would hold; outside of a repository, the samples. Serves DL-FI-03.

    Files above 100 MB are refused, whoever keeps them; from 10 MB on Git LFS is suggested, unless
    it keeps them already; the samples may have 10 MB in total.
    """
    samples_folder = tree.folder(Folder.SAMPLES)
    lfs = set()
    if git.is_repository(project):
        staged = git.staged(project)
        sizes = {path: file.size for path, file in staged.items()}
        lfs = {path for path, file in staged.items() if file.in_lfs}
    else:
        sizes = {
            file.relative_to(project).as_posix() if file.is_relative_to(project) else str(file): (
                file.stat().st_size
            )
            for file in tree.files(Folder.SAMPLES)
        }
    refused = []
    suggested = []
    for path, size in sorted(sizes.items()):
        if size > NEVER_FROM:
            refused.append(
                f"{printable(path)} has {readable(size)}; a file above {readable(NEVER_FROM)} "
                "never goes into git. Keep it in data/raw/ or on the remote, with a script that "
                "gets it."
            )
        elif size >= LFS_FROM and path not in lfs:
            suggested.append(
                f"{printable(path)} has {readable(size)}; from {readable(LFS_FROM)} on consider "
                "Git LFS, if it must be versioned at all."
            )
    samples = {
        path: size
        for path, size in sizes.items()
        if (project / path).is_relative_to(samples_folder)
    }
    total = sum(samples.values())
    if total > SAMPLES_LIMIT:
        largest = sorted(samples, key=samples.__getitem__, reverse=True)[:3]
        named = ", ".join(f"{printable(path)} ({readable(samples[path])})" for path in largest)
        refused.append(
            f"The samples have {readable(total)} in total, above {readable(SAMPLES_LIMIT)}. "
            f"The largest: {named}."
        )
    return Sizes(tuple(refused), tuple(suggested), total)


def readable(size: float) -> str:
    """A number of bytes for people, in powers of ten."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
