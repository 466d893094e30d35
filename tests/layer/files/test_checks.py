"""What `check` says of the data tree, each finding shown to fail once."""

import hashlib
import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from my_project.data_layer.atomic import replacing
from my_project.data_layer.checklist import Verdict
from my_project.data_layer.files import (
    DataTree,
    Manifest,
    SeriesName,
    write,
)
from my_project.data_layer.files import sizes as guidelines
from my_project.data_layer.files.checks import files_checks
from my_project.data_layer.git import GitRefused
from tests.layer.files.conftest import git

ROWS = pa.table({"close": [1.0, 2.0]})


@pytest.fixture
def sound(repository: Path, tree: DataTree) -> DataTree:
    """A tree with which nothing is wrong."""
    (tree.root / "README.md").write_text("quandl, small.csv\n")
    write(tree.path("samples/small.csv"), ROWS)
    write(tree.path(f"raw/{name(2020)}"), ROWS)
    write(tree.path(f"raw/{name(2021)}"), ROWS)
    for year in (2020, 2021):
        Manifest(tree).record(f"raw/{name(year)}", source="quandl", licence="public domain")
    git(repository, "add", "--all")
    return tree


def name(year: int, **parts: str) -> str:
    words = {"source": "quandl", "asset": "ibm", "timeframe": "1d"} | parts
    return str(SeriesName(**words, start=date(year, 1, 1), end=date(year, 12, 31)))


async def verdicts(*, every_hash: bool = False) -> dict[str, tuple[Verdict, str]]:
    found = {}
    for check in files_checks(every_hash=every_hash):
        finding = await check.probe()
        found[check.id] = (finding.verdict, f"{finding.evidence} {finding.remedy}")
    return found


async def test_a_sound_tree_passes(sound: DataTree) -> None:
    found = await verdicts()
    assert list(found) == [f"DL-FI-{number:02}" for number in range(1, 11)]
    assert {verdict for verdict, _ in found.values()} == {Verdict.PASSED}, found


def no_folder(tree: DataTree) -> None:
    (tree.root / "external").rmdir()


def open_gitignore(tree: DataTree) -> None:
    file = tree.root.parent / ".gitignore"
    file.write_text(file.read_text().replace("/data/**\n", "/data/raw/*.csv\n"))


def forced_into_git(tree: DataTree) -> None:
    git(tree.root.parent, "add", "--force", f"data/raw/{name(2020)}")


def closed_samples(tree: DataTree) -> None:
    file = tree.root.parent / ".gitignore"
    file.write_text(f"{file.read_text()}*.parquet\n")


def large_file(tree: DataTree) -> None:
    (tree.root.parent / "dump.sql").write_bytes(b"x" * 5000)
    git(tree.root.parent, "add", "dump.sql")


def many_samples(tree: DataTree) -> None:
    (tree.root / "README.md").write_text("quandl, small.csv, 0.csv, 1.csv\n")
    for number in range(2):
        (tree.root / "samples" / f"{number}.csv").write_bytes(b"%d" % number * 1200)
    git(tree.root.parent, "add", "--all")


def wrong_name(tree: DataTree) -> None:
    write(tree.path("processed/quandl_IBM_1d_20200101_20201231.parquet"), ROWS)


def unnamed_source(tree: DataTree) -> None:
    write(tree.path(f"external/{name(2020, source='yahoo')}"), ROWS)


def unnamed_sample(tree: DataTree) -> None:
    write(tree.path("samples/other.csv"), ROWS)


def no_readme(tree: DataTree) -> None:
    (tree.root / "README.md").unlink()


def changed_file(tree: DataTree) -> None:
    path = tree.path(f"raw/{name(2020)}")
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (time.time() + 5,) * 2)


def lost_file(tree: DataTree) -> None:
    tree.path(f"raw/{name(2021)}").unlink()


def full_cache(tree: DataTree) -> None:
    copy = tree.root / "cache" / "remote" / "0f-x.parquet"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"x" * 2000)


def proving(demand: str, fault: Callable[[DataTree], None], words: str) -> object:
    return pytest.param(demand, fault, words, id=fault.__name__)


@pytest.mark.standard("DL-FI-01", "DL-FI-02", "DL-FI-03", "DL-FI-04", "DL-FI-06", "DL-FI-07")
@pytest.mark.standard("DL-FI-09")
@pytest.mark.parametrize(
    ("demand", "fault", "words"),
    [
        proving("DL-FI-01", no_folder, "lacks external. Run `files init`"),
        proving("DL-FI-02", open_gitignore, "would take data/raw/a.parquet"),
        proving("DL-FI-02", forced_into_git, f"tracks data/raw/{name(2020)}"),
        proving("DL-FI-02", closed_samples, "would not take data/samples/deep/b c.parquet"),
        proving("DL-FI-03", large_file, "dump.sql has 5.0 kB"),
        proving(
            "DL-FI-03",
            many_samples,
            "kB in total, above 2.0 kB. The largest: data/samples/0.csv (1.2 kB)",
        ),
        proving("DL-FI-04", wrong_name, "The asset 'IBM'"),
        proving("DL-FI-06", unnamed_source, "does not name yahoo"),
        proving("DL-FI-06", unnamed_sample, "does not name other.csv"),
        proving("DL-FI-06", no_readme, "There is no"),
        proving("DL-FI-07", changed_file, f"raw/{name(2020)} has another content"),
        proving("DL-FI-07", lost_file, f"raw/{name(2021)} is gone"),
        proving("DL-FI-09", full_cache, "take 2.0 kB of 1.0 kB"),
    ],
)
async def test_a_fault_is_found(
    sound: DataTree,
    monkeypatch: pytest.MonkeyPatch,
    demand: str,
    fault: Callable[[DataTree], None],
    words: str,
) -> None:
    monkeypatch.setattr(guidelines, "NEVER_FROM", 4000)
    monkeypatch.setattr(guidelines, "SAMPLES_LIMIT", 2000)
    monkeypatch.setenv("FILES_CACHE_SIZE", "1000")
    assert {verdict for verdict, _ in (await verdicts()).values()} == {Verdict.PASSED}
    fault(sound)
    found = await verdicts()
    verdict, told = found[demand]
    assert verdict is Verdict.FAILED
    assert words in told
    others = {one for one, (verdict, _) in found.items() if verdict is not Verdict.PASSED}
    assert others == {demand}


@pytest.mark.standard("DL-FI-05")
async def test_gaps_and_overlaps_are_advised_against(sound: DataTree) -> None:
    write(sound.path(f"raw/{name(2023)}"), ROWS)
    verdict, told = (await verdicts())["DL-FI-05"]
    assert verdict is Verdict.ADVICE
    assert "raw: quandl_ibm_1d lacks 2022-01-01 to 2022-12-31" in told
    double = SeriesName("quandl", "ibm", "1d", date(2023, 12, 1), date(2024, 1, 31))
    write(sound.path(f"raw/{double}"), ROWS)
    assert f"and {double} both hold 2023-12-01 to 2023-12-31" in (await verdicts())["DL-FI-05"][1]


@pytest.mark.standard("DL-FI-10")
async def test_an_abandoned_write_is_told(sound: DataTree) -> None:
    part = sound.root / "raw" / ".x.parquet.0a1b.part"
    with replacing(sound.path("raw/y.csv")):
        assert (await verdicts())["DL-FI-10"][0] is Verdict.PASSED
    part.touch()
    verdict, told = (await verdicts())["DL-FI-10"]
    assert verdict is Verdict.ADVICE
    assert "raw/.x.parquet.0a1b.part" in told


@pytest.mark.standard("DL-FI-08")
async def test_a_remote_that_does_not_answer_fails(
    sound: DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_REMOTE_URL", f"file://{tmp_path}")
    assert (await verdicts())["DL-FI-08"] == (Verdict.PASSED, "The remote lists its files. ")
    monkeypatch.setenv("FILES_REMOTE_URL", f"file://{tmp_path}/not/mounted")
    verdict, told = (await verdicts())["DL-FI-08"]
    assert verdict is Verdict.FAILED
    assert "FILES_REMOTE_URL" in told


async def test_a_file_of_10_mb_is_advised_into_lfs(
    sound: DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidelines, "LFS_FROM", 4000)
    large_file(sound)
    verdict, told = (await verdicts())["DL-FI-03"]
    assert verdict is Verdict.ADVICE
    assert "dump.sql has 5.0 kB; from 4.0 kB on consider Git LFS" in told
    # The attribute alone moves nothing: without git-lfs the content is in git as before.
    (sound.root.parent / ".gitattributes").write_text("dump.sql filter=lfs -text\n")
    assert (await verdicts())["DL-FI-03"][0] is Verdict.ADVICE
    (sound.root.parent / "dump.sql").write_text(pointer(5000))
    git(sound.root.parent, "add", "dump.sql")
    assert (await verdicts())["DL-FI-03"][0] is Verdict.PASSED


def pointer(size: int) -> str:
    """What git-lfs puts into git for a file of that size."""
    oid = hashlib.sha256(b"").hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


async def test_files_of_others_may_be_named_as_they_are(sound: DataTree) -> None:
    """Underscores alone make no time series, and what is in a name is no markup."""
    for odd in ("ghcn_daily_by_year_v3.csv", "[bold]☃_a_b_c_d.csv", "-rf.csv", "a\nb.csv"):
        sound.path(f"raw/{odd}").write_text("a\n1\n")
    assert (await verdicts())["DL-FI-04"][0] is Verdict.PASSED
    (sound.root / "raw" / os.fsdecode(b"caf\xe9.parquet")).touch()
    assert "raw/caf\\udce9.parquet" in (await verdicts())["DL-FI-04"][1]


async def test_a_folder_that_is_a_link_to_another_disk(sound: DataTree, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (sound.root / "external").rmdir()
    disk.mkdir()
    (sound.root / "external").symlink_to(disk)
    write(sound.path(f"external/{name(2020)}"), ROWS)
    assert (disk / name(2020)).is_file()
    found = await verdicts()
    assert {verdict for verdict, _ in found.values()} == {Verdict.PASSED}, found


async def test_git_that_does_not_want_to_look_is_no_pass(
    sound: DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container where another user owns the checkout."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    for check in files_checks():
        if check.id in ("DL-FI-02", "DL-FI-03"):
            with pytest.raises(GitRefused, match="dubious ownership"):
                await check.probe()


async def test_a_table_with_a_name_of_its_own_is_only_mentioned(sound: DataTree) -> None:
    write(sound.path("processed/instruments.parquet"), ROWS)
    verdict, told = (await verdicts())["DL-FI-04"]
    assert verdict is Verdict.ADVICE
    assert "processed/instruments.parquet" in told


async def test_the_projects_own_exports_need_no_source(sound: DataTree) -> None:
    own = "my_project".replace("_", "-")
    write(sound.path(f"processed/{name(2020, source=own)}"), ROWS)
    assert (await verdicts())["DL-FI-06"][0] is Verdict.PASSED


async def test_every_hash_is_read_on_demand(sound: DataTree) -> None:
    """A change that hides its time is found by `files check`."""
    path = sound.path(f"raw/{name(2020)}")
    about = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (await verdicts())["DL-FI-07"][0] is Verdict.PASSED
    assert (await verdicts(every_hash=True))["DL-FI-07"][0] is Verdict.FAILED


async def test_outside_of_git_the_rest_is_still_asked(project: Path, tree: DataTree) -> None:
    found = await verdicts()
    assert found["DL-FI-02"][0] is Verdict.ADVICE
    assert found["DL-FI-03"][0] is Verdict.PASSED
