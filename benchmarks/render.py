"""`make bench`: what `copier copy` of the full template costs, next to two others.

One has a single file: the floor under every template. The other has the files of the full one,
all of them empty: what Copier itself takes for that many paths. All are measured alternately in
the same minute on the same machine: a ratio survives a slow or busy machine, seconds don't.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from examples.render import ANSWERS, snapshot

COPIER = Path(sys.executable).with_name("copier")
# Full to empty: what the content of the files and the questions add is ours; the rest is Copier's.
TARGET = 1.5


def floor(folder: Path) -> Path:
    """A template of one question and one file: below this no template can go."""
    (folder / "template").mkdir(parents=True)
    (folder / "copier.yml").write_text("_subdirectory: template\nproject_name:\n  type: str\n")
    (folder / "template" / "README.md.jinja").write_text("# {{ project_name }}\n")
    return folder


def emptied(template: Path) -> Path:
    """The same paths with nothing in the files; the answers file alone keeps its content."""
    for path in (template / "template").rglob("*"):
        if path.is_file() and "answers_file" not in path.name:
            path.write_bytes(b"")
    return template


def seconds(template: Path, destination: Path) -> tuple[float, float]:
    """One `copier copy` of the full set of answers: wall clock, and time on the processor."""
    command: list[str | Path] = [COPIER, "copy", "--quiet", "--defaults"]
    command += ["--data-file", ANSWERS / "everything.yml", template, destination]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = perf_counter()
    subprocess.run(command, check=True)
    wall = perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--target", type=float, default=TARGET, help="exit with 1 above this ratio")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        templates = {
            "floor": floor(folder / "floor"),
            "empty": emptied(snapshot(folder / "empty")),
            "full": snapshot(folder / "full"),
        }
        taken: dict[str, list[tuple[float, float]]] = {which: [] for which in templates}
        for number in range(options.runs + 1):
            for which, template in templates.items():
                measured = seconds(template, folder / f"{which}-{number}")
                if number:  # the first run fills the file cache
                    taken[which].append(measured)
        files = sum(path.is_file() for path in (folder / "full-1").rglob("*"))

    medians = {}
    for which, pairs in taken.items():
        wall, processor = (statistics.median(times) for times in zip(*pairs, strict=True))
        medians[which] = wall
        print(
            f"{which:<6} {wall:.3f} s on the wall clock, {processor:.3f} s on the processor"
            f" (medians of {len(pairs)} runs, fastest {min(pairs)[0]:.3f} s)"
        )
    own = medians["full"] / medians["empty"]
    print(
        f"{files} files take {medians['full'] / medians['floor']:.2f} times as long as one,"
        f" and {own:.2f} times as long as the same files empty; target at most {options.target}"
    )
    return int(own > options.target)


if __name__ == "__main__":
    sys.exit(main())
