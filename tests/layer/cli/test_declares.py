"""`create_cli(declares=…)`: modules that are imported by who needs what they declare."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from my_project.data_layer import checklist, wiring
from my_project.data_layer.checklist import Check, Finding
from my_project.data_layer.cli import create_cli
from my_project.data_layer.errors import DataLayerError
from my_project.data_layer.project import import_all

SWITCHED_OFF = f"{wiring.__package__}.switched_off"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a module, and with a package that has one."""
    for name in ("shop/__init__.py", "shop/orders.py", "shop/old/__init__.py", "shop/old/bills.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "shop"
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def check(monkeypatch: pytest.MonkeyPatch, *arguments: str, declares: Sequence[str]) -> str:
    """What `check` prints in a project with one check, which asks for what is declared."""

    def checks(only: Sequence[str], declare: Callable[[], None]) -> list[Check]:
        async def probe() -> Finding:
            declare()
            return checklist.passed("All is declared.")

        return [Check("DL-AA-01", "Something is declared", probe)]

    monkeypatch.setattr(wiring, "checks", checks)
    return CliRunner().invoke(create_cli(declares=declares), ["check", *arguments]).output


def test_a_package_is_imported_with_all_that_is_in_it_and_no_sooner(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "DL-AA-01" in check(monkeypatch, "--list", declares=["shop"])
    assert "shop" not in sys.modules

    assert "All is declared." in check(monkeypatch, declares=["shop"])
    assert {"shop", "shop.orders", "shop.old", "shop.old.bills"} <= sys.modules.keys()


def test_of_a_module_only_itself_is_imported(shop: Path) -> None:
    assert [module.__name__ for module in import_all("shop.orders")] == ["shop.orders"]
    assert "shop.old" not in sys.modules


@pytest.mark.parametrize("name", ["shop.nothing", "nothing.shop"])
def test_a_name_of_nothing_is_a_sentence(shop: Path, name: str) -> None:
    with pytest.raises(DataLayerError, match=f"There is no module {name}; .*__main__"):
        import_all(name)


def test_what_a_module_that_is_switched_off_left_behind_is_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "old" / "bills.py").write_text(f"import {SWITCHED_OFF}\n", encoding="utf-8")

    told = " ".join(check(monkeypatch, "--markdown", declares=["shop"]).split())

    assert f"shop.old.bills imports {SWITCHED_OFF}, which this project does not have" in told
    assert "delete shop.old.bills" in told


def test_a_library_that_is_missing_is_no_fault_of_the_name(shop: Path) -> None:
    (shop / "orders.py").write_text("import no_such_library\n", encoding="utf-8")

    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        import_all("shop")
