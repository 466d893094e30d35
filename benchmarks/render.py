"""`make bench`: what `copier copy` of the full template costs, next to the smallest template.

Both are measured alternately in the same minute on the same machine: a ratio survives a slow or
busy machine, seconds don't.
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
TARGET = 1.5


def floor(folder: Path) -> Path:
    """A template of one question and one file: below this no template can go."""
    (folder / "template").mkdir(parents=True)
    (folder / "copier.yml").write_text("_subdirectory: template\nproject_name:\n  type: str\n")
    (folder / "template" / "README.md.jinja").write_text("# {{ project_name }}\n")
    return folder


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
        templates = {"floor": floor(folder / "floor"), "full": snapshot(folder / "full")}
        taken: dict[str, list[tuple[float, float]]] = {which: [] for which in templates}
        for number in range(options.runs + 1):
            for which, template in templates.items():
                measured = seconds(template, folder / f"{which}-{number}")
                if number:  # the first run fills the file cache
                    taken[which].append(measured)
        files = sum(path.is_file() for path in (folder / "full-1").rglob("*"))

    ratios = []
    for index, clock in enumerate(("wall clock", "processor")):
        values = {which: [pair[index] for pair in pairs] for which, pairs in taken.items()}
        medians = {which: statistics.median(times) for which, times in values.items()}
        for which, times in values.items():
            print(
                f"{clock:<10} {which:<5} median {medians[which]:.3f} s,"
                f" fastest {min(times):.3f} s, slowest {max(times):.3f} s, {len(times)} runs"
            )
        ratios.append(medians["full"] / medians["floor"])
    print(
        f"{files} files take {ratios[0]:.2f} times as long as one on the wall clock,"
        f" {ratios[1]:.2f} times on the processor; target at most {options.target}"
    )
    return int(ratios[0] > options.target)


if __name__ == "__main__":
    sys.exit(main())
