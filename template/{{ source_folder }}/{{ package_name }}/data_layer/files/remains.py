"""What of the data tree stays on the disk when the module is switched off."""

from ..modules.remains import Remains
from .tree import DataTree, Folder


async def remains() -> list[Remains]:
    """The files of the tree: they stay, and .gitignore no longer hides them."""
    tree = DataTree.of_settings()
    hidden = [folder for folder in Folder if folder is not Folder.SAMPLES]
    files = sum(1 for _ in tree.files(*hidden))
    if not files:
        return []
    return [
        Remains(
            f"{files:,} files stay in {tree.root}: delete them, or put the folder into .gitignore "
            "before the next commit, since the update takes the rules out that hide it.",
            lost=False,
        )
    ]
