"""What stays of the lake when the module is switched off."""

from my_project.data_layer.duckdb import Lake
from my_project.data_layer.duckdb.remains import remains


async def test_files_that_git_hides_no_more_are_told_of(lake: Lake) -> None:
    lake.folder.mkdir(parents=True, exist_ok=True)
    assert await remains(lake) == []
    (lake.folder / "a_b_1d_20230101_20231231.parquet").touch()

    (left,) = await remains(lake)

    assert left.sentence.startswith(f"1 Parquet files stay in {lake.folder}: ")
    assert not left.lost
