"""`make release VERSION=…`: check, write the section of CHANGELOG.md, tag, and record the commit.

A tag never moves. The commit of a release can't name itself, so the commit after it does, in
releases.yml: clones that come without tags find every release there.
"""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
RECORD = "releases.yml"
CHANGES = "CHANGELOG.md"
UNRELEASED = "## Unreleased\n"
# From here on, answers files and projects may rely on every name.
PERMANENT = Version("1.0.0")


def git(repository: Path, *arguments: str, check: bool = True) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", *arguments], cwd=repository, check=check, capture_output=True, text=True
    )
    return done.stdout.strip()


def releases(repository: Path) -> dict[Version, str]:
    """Each release and its commit, the oldest first."""
    record = yaml.safe_load((repository / RECORD).read_text(encoding="utf-8"))
    found = {Version(version): commit for version, commit in (record["releases"] or {}).items()}
    return dict(sorted(found.items()))


def has(repository: Path, commit: str) -> bool:
    """Whether this clone holds the commit."""
    return git(repository, "cat-file", "-t", commit, check=False) == "commit"


def problems(repository: Path, version: str) -> Iterator[str]:
    """Why this can't be released, a sentence each."""
    try:
        wanted = Version(version)
    except InvalidVersion:
        yield f"{version or 'Nothing'} is not a version of PEP 440, as 1.2.0 is."
        return
    if str(wanted) != version or wanted.local or wanted.is_devrelease:
        yield f"The tag of {version} is not plain; type {wanted.public}."
    known = [*releases(repository), *_tagged(repository)]
    if known and wanted <= max(known):
        yield f"{version} is not greater than {max(known)}, and a tag never moves."
    if (branch := git(repository, "branch", "--show-current")) != "main":
        yield f"The branch is {branch or 'none'}; a release is made on main."
    if git(repository, "status", "--porcelain"):
        yield "Something is not committed; commit it first."
    if "\n- " not in _unreleased(repository)[1]:
        yield f"{CHANGES} has no entry under Unreleased; say what comes to whoever updates."
    yield from broken_promises(repository)


def _tagged(repository: Path) -> Iterator[Version]:
    for tag in git(repository, "tag").splitlines():
        try:
            yield Version(tag)
        except InvalidVersion:
            continue


def broken_promises(repository: Path) -> Iterator[str]:
    """What projects rely on since 1.0.0 and find no more: questions, values, paths."""
    promised = [item for item in releases(repository).items() if item[0] >= PERMANENT]
    if not promised:
        return
    version, commit = promised[-1]
    before = yaml.safe_load(git(repository, "show", f"{commit}:copier.yml"))
    now = yaml.safe_load((repository / "copier.yml").read_text(encoding="utf-8"))
    for name, question in before.items():
        if name.startswith("_") or question.get("when") is False:
            continue
        if name not in now:
            yield f"copier.yml has no question {name}, which {version} asks."
            continue
        gone = [value for value in _values(question) if value not in _values(now[name])]
        yield from (
            f"The question {name} has no {value}, which {version} offers." for value in gone
        )
    listed = git(repository, "ls-tree", "-r", "--name-only", "-z", commit, "template/")
    for path in listed.split("\0"):
        plain = path.removesuffix(".jinja")
        if path and not any((repository / one).is_file() for one in (plain, f"{plain}.jinja")):
            yield f"{plain} is gone, which {version} renders."


def _values(question: dict[str, Any]) -> list[Any]:
    offered = question.get("choices", [])
    return list(offered.values() if isinstance(offered, dict) else offered)


def _unreleased(repository: Path) -> tuple[str, str, str]:
    """The changes before, in and after the unreleased section."""
    text = (repository / CHANGES).read_text(encoding="utf-8")
    before, _, rest = text.partition(UNRELEASED)
    section, line, after = rest.partition("\n## ")
    return before + UNRELEASED, section, line + after


def release(repository: Path, version: str) -> None:
    """Write, commit, tag and record it."""
    record = repository / RECORD
    standard = yaml.safe_load(record.read_text(encoding="utf-8"))["standard"]
    before, section, after = _unreleased(repository)
    head = f"\n## {version}, {datetime.now(UTC):%Y-%m-%d}, by version {standard} of the standard\n"
    (repository / CHANGES).write_text(before + head + section + after, encoding="utf-8")
    git(repository, "commit", "--quiet", "--message", f"Release {version}", "--", CHANGES)
    git(repository, "tag", "--annotate", "--message", f"Release {version}", version)
    commit = git(repository, "rev-parse", "HEAD")
    text = record.read_text(encoding="utf-8").replace("releases: {}", "releases:")
    record.write_text(f'{text}  "{version}": {commit}\n', encoding="utf-8")
    git(repository, "commit", "--quiet", "--message", f"Record release {version}", "--", RECORD)


def main() -> None:
    version = sys.argv[1] if sys.argv[1:] else ""
    if found := list(problems(ROOT, version)):
        sys.exit("\n".join(found))
    release(ROOT, version)
    print(f"{version} is tagged and recorded. Next: git push --atomic origin main {version}")


if __name__ == "__main__":
    main()
