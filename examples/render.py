"""`make examples`: render the projects under examples/ again from their answers files."""

import re
import shutil
import tempfile
from pathlib import Path

import copier
import yaml

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "examples" / "answers"

# Projects that are kept in the repository, for reading without rendering.
RENDERED = ("minimal",)


def answers(name: str) -> dict[str, object]:
    """What an answers file says, as `copier copy --data-file` reads it."""
    loaded = yaml.safe_load((ANSWERS / f"{name}.yml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def snapshot(destination: Path) -> Path:
    """Copy what Copier reads of this repository; git's state and other files stay out.

    Copier clones a repository, and commits what is uncommitted into the clone, for every copy.
    """
    destination.mkdir(parents=True)
    shutil.copy2(ROOT / "copier.yml", destination)
    for folder in ("template", "modules"):
        shutil.copytree(
            ROOT / folder,
            destination / folder,
            ignore=shutil.ignore_patterns("__pycache__", ".*_cache", ".DS_Store"),
        )
    return destination


def render(name: str, template: Path, destination: Path) -> Path:
    """Render the answers file `name`, the same on every machine and at every commit."""
    copier.run_copy(
        str(template),
        destination,
        data=answers(name),
        defaults=True,
        quiet=True,
        unsafe=False,
    )
    recorded = destination / ".copier-answers.yml"
    text = recorded.read_text(encoding="utf-8")
    text = re.sub(r"^_commit: .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^_src_path: .*$", "_src_path: ../..", text, flags=re.MULTILINE)
    recorded.write_text(text, encoding="utf-8", newline="\n")
    return destination


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        template = snapshot(Path(folder) / "template")
        for name in RENDERED:
            destination = ROOT / "examples" / name
            shutil.rmtree(destination, ignore_errors=True)
            render(name, template, destination)
            print(
                f"examples/{name}: {sum(path.is_file() for path in destination.rglob('*'))} files"
            )


if __name__ == "__main__":
    main()
