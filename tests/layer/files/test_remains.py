"""What stays of the data tree when the module is switched off."""

from my_project.data_layer.files import DataTree
from my_project.data_layer.files.remains import remains


async def test_files_that_git_hides_no_more_are_told_of(tree: DataTree) -> None:
    for name in ("samples/a.csv", "raw/README.md"):
        tree.path(name).write_text("")
    assert await remains() == []
    for name in ("raw/a.csv", "processed/b.csv"):
        tree.path(name).write_text("")

    (left,) = await remains()

    assert left.sentence.startswith(f"2 files stay in {tree.root}: ")
    assert not left.lost
