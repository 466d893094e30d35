"""`make bench`: what `copier copy` of the full template costs, next to the smallest template.

Both are measured alternately in the same minute on the same machine: a ratio survives a slow or
busy machine, seconds don't.
"""

import argparse
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


def seconds(template: Path, destination: Path) -> float:
    """The wall clock of one `copier copy` of the full set of answers."""
    data = ANSWERS / "everything.yml"
    command = [COPIER, "copy", "--quiet", "--defaults", "--data-file", data, template, destination]
    began = perf_counter()
    subprocess.run(command, check=True)
    return perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--target", type=float, default=TARGET, help="exit with 1 above this ratio")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        templates = {"floor": floor(folder / "floor"), "full": snapshot(folder / "full")}
        taken: dict[str, list[float]] = {which: [] for which in templates}
        for number in range(options.runs + 1):
            for which, template in templates.items():
                measured = seconds(template, folder / f"{which}-{number}")
                if number:  # the first run fills the file cache
                    taken[which].append(measured)
        rendered = folder / "full-1"
        files = sum(path.is_file() for path in rendered.rglob("*"))
    medians = {which: statistics.median(values) for which, values in taken.items()}
    ratios = [full / base for full, base in zip(taken["full"], taken["floor"], strict=True)]
    for which, values in taken.items():
        print(
            f"{which:<6} median {medians[which]:.3f} s, fastest {min(values):.3f} s,"
            f" slowest {max(values):.3f} s, {len(values)} runs"
        )
    ratio = medians["full"] / medians["floor"]
    print(
        f"ratio  {ratio:.2f} of the medians ({files} files to 1), pairs from"
        f" {min(ratios):.2f} to {max(ratios):.2f}; target at most {options.target}"
    )
    return int(ratio > options.target)


if __name__ == "__main__":
    sys.exit(main())
