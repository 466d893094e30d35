"""Every combination: its pages link to what is there, and show commands that exist."""

import re
from pathlib import Path

import yaml

from tests.combinations import Combination
from tests.markdown import anchors, dead_links
from tests.rendering.conftest import files


def pages(project: Path) -> list[Path]:
    return [project / path for path in files(project) if path.endswith(".md")]


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_no_link_is_dead(project: Path) -> None:
    found = pages(project)
    assert project / "README.md" in found
    assert dead_links(project, found) == []


def test_every_page_can_be_reached_from_the_readme(project: Path) -> None:
    reached = {project / "README.md"}
    waiting = list(reached)
    while waiting:
        page = waiting.pop()
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            if linked.suffix == ".md" and linked.is_file() and linked not in reached:
                reached.add(linked)
                waiting.append(linked)
    lost = {page.resolve() for page in pages(project)} - {page.resolve() for page in reached}
    assert sorted(page.relative_to(project.resolve()).as_posix() for page in lost) == []


def test_pages_name_paths_that_exist(combination: Combination, project: Path) -> None:
    """A path in code font, from the project's root, is there, or git ignores what will be there."""
    roots = {path.split("/")[0] for path in files(project) if "/" in path}
    ignored = (project / ".gitignore").read_text(encoding="utf-8").splitlines()
    missing = [
        f"{page.relative_to(project)}: {path}"
        for page in pages(project)
        for path in re.findall(r"`([\w.-]+/[\w./-]+)`", prose(page))
        if path.split("/")[0] in roots
        and not (project / path).exists()
        and f"/{path.strip('/')}/" not in ignored
    ]
    assert missing == []


def test_the_readme_begins_with_what_to_type(project: Path) -> None:
    text = (project / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# My Project\n")
    first_block = text.partition("```")[2].partition("```")[0]
    assert "uv sync" in first_block
    assert text.index("```") < 700


def test_each_alert_leads_to_a_section_that_says_what_to_do(project: Path) -> None:
    text = (project / "ops" / "monitoring" / "rules.yml").read_text(encoding="utf-8")
    [group] = yaml.safe_load(text)["groups"]
    assert len(group["rules"]) > 9
    for rule in group["rules"]:
        page, _, section = rule["annotations"]["runbook"].partition("#")
        assert section in anchors(project / page), rule["alert"]


def test_dead_links_are_found(tmp_path: Path) -> None:
    """The search itself: it sees a missing file, a missing heading and a way out of the project."""
    (tmp_path / "other.md").write_text("# A heading, & more!\n\n## Twice\n\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](gone.md) [c](other.md#a-heading--more) [d](other.md#gone)\n"
        "[e](../outside.md) ![f](gone.png) [g](https://example.org/x) [h](other.md#twice-1)\n"
    )
    assert anchors(tmp_path / "other.md") == {"a-heading--more", "twice", "twice-1"}
    assert dead_links(tmp_path, [page]) == [
        "page.md: gone.md",
        "page.md: other.md#gone (no such heading)",
        "page.md: ../outside.md",
        "page.md: gone.png",
    ]
