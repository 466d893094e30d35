"""Whether the files that git tracks keep to the standard's guidelines on size."""

from dataclasses import dataclass
from pathlib import Path

from ..git import GitRefused, answer, is_repository
from .tree import DataTree, Folder, printable

MEGABYTE = 1_000_000
SAMPLES_LIMIT = 10 * MEGABYTE
LFS_FROM = 10 * MEGABYTE
NEVER_FROM = 100 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Sizes:
    """Findings about the sizes of tracked files, one sentence each.

    Attributes:
        refused: about files that must not go into git.
        suggested: about files that may, but Git LFS would be better.
        samples: bytes of the samples in total.
    """

    refused: tuple[str, ...]
    suggested: tuple[str, ...]
    samples: int


def judge(project: Path, tree: DataTree) -> Sizes:
    """Judge what the next commit would hold; outside of a repository nothing. Serves DL-FI-03.

    A file in Git LFS counts with the size of its pointer, since git holds nothing else of it.
    """
    sizes = staged(project) if is_repository(project) else {}
    refused = []
    suggested = []
    for path, size in sorted(sizes.items()):
        about = f"{printable(path)} has {readable(size)}"
        if size > NEVER_FROM:
            refused.append(
                f"{about}; a file above {readable(NEVER_FROM)} never goes into git. Keep it in "
                "data/raw/ or on the remote, with a script that gets it."
            )
        elif size >= LFS_FROM:
            suggested.append(
                f"{about}; from {readable(LFS_FROM)} on consider Git LFS, if it must be versioned "
                "at all."
            )
    folder = tree.folder(Folder.SAMPLES)
    samples = {
        path: size for path, size in sizes.items() if (project / path).is_relative_to(folder)
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


def staged(project: Path, *folders: str) -> dict[str, int]:
    """The paths that the next commit would hold, each with its size in bytes."""
    listed = answer(project, "ls-files", "-z", "--stage", "--", *folders)
    blobs = {}
    for record in listed.split("\0"):
        about, _, path = record.partition("\t")
        mode, _, rest = about.partition(" ")
        if path and mode != "160000":  # a submodule has no content here
            blobs[path] = rest.partition(" ")[0]
    asked = "".join(f"{blob}\n" for blob in blobs.values())
    told = answer(project, "cat-file", "--batch-check=%(objectsize)", stdin=asked).splitlines()
    if len(told) != len(blobs) or not all(size.isdigit() for size in told):
        raise GitRefused("git lacks contents that its index names; `git fsck` says which.")
    return {path: int(size) for path, size in zip(blobs, told, strict=True)}


def readable(size: float) -> str:
    """A number of bytes for people, in powers of ten."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
