"""What a command of a rendered project costs before it does anything.

    copier copy "$PWD" /tmp/project --defaults -d project_name=Project \\
        -d 'modules=[timescaledb,duckdb,files,redis]'
    cd /tmp/project && uv sync
    python benchmarks/start.py /tmp/project

Each command runs in a process of its own, in turns with `python -c "import typer, rich"`: a command
line that is made with these two can't cost less. What counts is processor time, the median of the
rounds. The program exits with 1 where `--help` costs more than five times as much.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

LIMIT = 5.0
FLOOR = ("python", "-c", "import typer, rich")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("project", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    project = given.project.resolve()
    [package] = (path.parent.name for path in project.glob("src/*/data_layer"))
    program = package.replace("_", "-")
    commands = [
        FLOOR,
        (program, "--help"),
        (program, "migrations", "--help"),
        (program, "check", "--only", "DL-PG"),
        (program, "check", "--list"),
    ]
    for command in commands:
        processor_time(project, command)  # the first time it is compiled
    seconds: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    for _ in range(given.rounds):
        for command in commands:
            seconds[command].append(processor_time(project, command))
    ratios = {
        command: median(ours / floor for ours, floor in zip(taken, seconds[FLOOR], strict=True))
        for command, taken in seconds.items()
    }
    for command, taken in seconds.items():
        print(f"{median(taken):.3f} s  ratio {ratios[command]:5.2f}  {' '.join(command)}")
    sys.exit(ratios[program, "--help"] > LIMIT)


def processor_time(project: Path, command: tuple[str, ...]) -> float:
    """The seconds of processor time that the command takes in the project's environment.

    A check may fail for want of a database; that it was asked is enough.
    """
    process = subprocess.Popen(
        [project / ".venv" / "bin" / command[0], *command[1:]],
        cwd=project,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    # The usage of this one child: getrusage would add up those of all.
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1) or complaint:
        raise SystemExit(f"{' '.join(command)}: {complaint.decode()}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
