"""What `check` asks about the adoption: DL-UP-07."""

from ..checklist import Check, Finding, failed, passed
from ..project import COMMAND, root
from .page import PAGE, missing


def adoption_checks() -> list[Check]:
    """The check of what the layer needs in the project's own files."""
    title = "The project has the lines that the layer needs"
    return [Check("DL-UP-07", title, _missing, of_repository=True)]


async def _missing() -> Finding:
    if not (root() / PAGE).is_file():
        return failed(f"{PAGE} is missing.", f"Type `git checkout {PAGE}`.")
    found = list(missing(root()))
    if found:
        remedy = f"Copy them from {PAGE}; `uv run {COMMAND} adopt` lists them."
        return failed(" ".join(found), remedy)
    return passed("It has all of them.")
