"""The page of the checklist says what the checks and the tests do, no more and no less."""

import re

import pytest

from my_project.data_layer.wiring import checks

ID = re.compile(r"DL-[A-Z]+-\d\d")


@pytest.fixture(scope="module")
def sections(pytestconfig: pytest.Config) -> dict[str, str]:
    page = pytestconfig.rootpath / "docs" / "data-layer" / "adoption-checklist.md"
    _, *parts = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


def rows(section: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| DL-")
    ]


@pytest.fixture(scope="module")
def marked(pytestconfig: pytest.Config) -> set[str]:
    """The ids that tests of the data layer prove."""
    return {
        match
        for path in (pytestconfig.rootpath / "tests").rglob("test_*.py")
        for marker in re.findall(r"standard\(([^)]*)\)", path.read_text(encoding="utf-8"))
        for match in ID.findall(marker)
    }


def test_the_page_lists_the_checks_in_their_order(sections: dict[str, str]) -> None:
    listed = [tuple(row[:3]) for row in rows(sections["Asked by `check`"])]

    assert listed == [
        (check.id, check.title, "yes" if check.required else "no") for check in checks()
    ]


def test_what_no_check_asks_is_proved_by_a_test(sections: dict[str, str], marked: set[str]) -> None:
    asked = {check.id for check in checks()}
    listed = {row[0] for row in rows(sections["Proved by tests"])}

    assert listed == marked - asked


def test_every_check_is_broken_by_a_test(marked: set[str]) -> None:
    assert {check.id for check in checks()} <= marked


def test_the_standards_list_names_only_known_ids(sections: dict[str, str]) -> None:
    tables = (sections["Asked by `check`"], sections["Proved by tests"])
    known = {row[0] for table in tables for row in rows(table)}

    assert set(ID.findall(sections["The standard's list"])) <= known
