"""A release is checked, written, tagged and recorded, in a repository of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import release
from tests.projects import ROOT, commit_all, git

Step = Callable[[Path], object]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template with two questions and one file; the next release is its first."""
    folder = tmp_path / "a clone"
    (folder / "template").mkdir(parents=True)
    (folder / "template" / "page.md.jinja").write_text("# Page\n")
    (folder / "copier.yml").write_text(
        "_subdirectory: template\nname: {type: str}\nengine: {choices: {A: a, B: b}}\n"
        "computed: {when: false, default: 1}\n"
    )
    (folder / "releases.yml").write_text('standard: "1.1.0"\nreleases: {}\n')
    changes = "# Changes\n\n## Unreleased\n\nThe first version.\n\n- **You get** a page.\n"
    (folder / release.CHANGES).write_text(changes)
    commit_all(folder, "Begin")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")
    return folder


def publish(repository: Path, version: str) -> None:
    assert [*release.problems(repository, version)] == []
    release.release(repository, version)


def change(repository: Path) -> None:
    """Something new to release."""
    file = repository / release.CHANGES
    file.write_text(
        file.read_text().replace(release.UNRELEASED, f"{release.UNRELEASED}\n- **New.**\n", 1)
    )
    commit_all(repository, "Change")


def test_a_release_is_tagged_and_recorded(repository: Path) -> None:
    publish(repository, "0.1.0")
    tagged = git("rev-parse", "0.1.0^{commit}", cwd=repository).strip()
    assert release.releases(repository) == {Version("0.1.0"): tagged}
    assert git("rev-parse", "HEAD^", cwd=repository).strip() == tagged
    assert git("status", "--porcelain", cwd=repository) == ""
    text = (repository / release.CHANGES).read_text()
    assert "## Unreleased\n\n## 0.1.0, " in text
    assert ", by version 1.1.0 of the standard\n\nThe first version.\n" in text

    assert any("no entry" in one for one in release.problems(repository, "0.2.0"))
    change(repository)
    publish(repository, "0.2.0")
    assert [str(version) for version in release.releases(repository)] == ["0.1.0", "0.2.0"]
    git("tag", "--delete", "0.1.0", "0.2.0", cwd=repository)
    change(repository)
    [known] = release.problems(repository, "0.2.0")
    assert known == "0.2.0 is not greater than 0.2.0, and a tag never moves."


FAULTS: dict[str, tuple[str, Step, str]] = {
    "no version": ("", lambda _: None, "Nothing is not a version of PEP 440"),
    "no PEP 440": ("one", lambda _: None, "one is not a version of PEP 440"),
    "not plain": ("v0.1", lambda _: None, "The tag of v0.1 is not plain; type 0.1."),
    "a tag": ("0.1", lambda folder: git("tag", "0.1", cwd=folder), "not greater than 0.1"),
    "a branch": (
        "0.1.0",
        lambda folder: git("checkout", "--quiet", "-b", "work", cwd=folder),
        "The branch is work",
    ),
    "a dirty tree": ("0.1.0", lambda folder: (folder / "new").touch(), "is not committed"),
}


@pytest.mark.parametrize(("version", "step", "sentence"), FAULTS.values(), ids=FAULTS)
def test_what_stands_in_the_way_is_one_sentence(
    repository: Path, version: str, step: Step, sentence: str
) -> None:
    step(repository)
    [found] = release.problems(repository, version)
    assert sentence in found


def break_promises(repository: Path) -> None:
    (repository / "copier.yml").write_text("engine: {choices: {B: b}}\n")
    (repository / "template" / "page.md.jinja").rename(repository / "template" / "other.md")
    change(repository)


def test_names_may_change_until_the_first_release_that_promises_them(repository: Path) -> None:
    publish(repository, "0.9.0")
    break_promises(repository)
    assert [*release.problems(repository, "1.0.0")] == []


def test_names_are_permanent_from_then_on(repository: Path) -> None:
    publish(repository, "1.0.0")
    page = repository / "template" / "page.md.jinja"
    page.rename(page.with_suffix(""))  # a file without answers needs no Jinja
    change(repository)
    assert [*release.problems(repository, "1.1.0")] == []
    page.with_suffix("").rename(page)
    break_promises(repository)
    assert [*release.problems(repository, "1.1.0")] == [
        "copier.yml has no question name, which 1.0.0 asks.",
        "The question engine has no a, which 1.0.0 offers.",
        "template/page.md is gone, which 1.0.0 renders.",
    ]


def test_this_repository_keeps_its_promises() -> None:
    assert [*release.broken_promises(ROOT)] == []


def test_every_release_of_this_repository_is_recorded() -> None:
    recorded = release.releases(ROOT)
    shallow = git("rev-parse", "--is-shallow-repository", cwd=ROOT).strip() == "true"
    for version, commit in recorded.items():
        assert shallow or release.has(ROOT, commit), version
    tagged = {tag for tag in git("tag", cwd=ROOT).split() if tag in map(str, recorded)}
    for tag in tagged:
        assert git("rev-parse", f"{tag}^{{commit}}", cwd=ROOT).strip() == recorded[Version(tag)]
    text = (ROOT / release.CHANGES).read_text(encoding="utf-8")
    assert all(f"\n## {version}, " in text for version in recorded)
    assert yaml.safe_load((ROOT / release.RECORD).read_text(encoding="utf-8"))["standard"]
