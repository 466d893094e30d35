"""The folders of the tree, paths within it, and what git takes of it."""

from pathlib import Path

import pytest

from my_project.data_layer.files import (
    DataTree,
    FilesError,
    FilesSettings,
    Folder,
)
from my_project.data_layer.settings import InvalidSettings, load
from tests.layer.files.conftest import git


def test_creates_what_is_missing(project: Path) -> None:
    tree = DataTree.of_settings()
    (project / "data" / "raw").mkdir(parents=True)

    assert tree.create() == [Folder.PROCESSED, Folder.EXTERNAL, Folder.CACHE, Folder.SAMPLES]
    assert tree.create() == []
    assert sorted(path.name for path in (project / "data").iterdir()) == sorted(Folder)


def test_the_root_can_be_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_ROOT", "lake")
    assert DataTree.of_settings().root == project / "lake"
    monkeypatch.setenv("FILES_ROOT", str(tmp_path / "disk"))
    assert DataTree.of_settings().root == tmp_path.resolve() / "disk"
    assert FilesSettings(_env_file=None, remote_url=None).cache_size == 10_000_000_000


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FILES_REMOTE_URL", "ftp://host/share", "it must begin with s3://"),
        ("FILES_REMOTE_URL", "s3://key:s3cret@bucket", "credentials belong into"),
        ("FILES_REMOTE_URL", "https://host/?sig=s3cret", "it must begin with"),
        ("FILES_CACHE_SIZE", "much", "FILES_CACHE_SIZE"),
        ("FILES_CACHE_SIZE", "0", "greater than 0"),
    ],
)
def test_a_wrong_setting_is_a_sentence_without_its_value(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=words) as raised:
        load(FilesSettings)
    assert "s3cret" not in str(raised.value)


def test_an_empty_remote_is_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILES_REMOTE_URL", "")
    assert load(FilesSettings).remote_url is None


def test_paths_go_both_ways(tree: DataTree) -> None:
    path = tree.path("raw/quandl/b c.csv")
    assert path == tree.root / "raw" / "quandl" / "b c.csv"
    assert tree.name(path) == "raw/quandl/b c.csv"
    assert tree.name(Path("data/raw/x.csv")) == "raw/x.csv"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "raw",
        "/etc/passwd",
        "prices.csv",
        "raw/../../x.csv",
        "../data/raw/x",
        "raw/./x.csv",
        "raw//x.csv",
        "other/x.csv",
        "raw/.hidden",
        "raw/a\\..\\b",
        "raw/a\0b",
        "raw/caf\udce9.csv",
    ],
)
def test_no_path_leaves_the_tree(tree: DataTree, name: str) -> None:
    with pytest.raises(FilesError, match="is no path of the data tree"):
        tree.path(name)


def test_a_file_outside_has_no_name(tree: DataTree) -> None:
    with pytest.raises(FilesError, match="is not in the data tree"):
        tree.name(tree.root.parent / "alembic.ini")


def test_lists_data_alone(tree: DataTree) -> None:
    for name in ("raw/b.csv", "raw/deep/a.csv", "samples/s.csv"):
        tree.path(name).parent.mkdir(exist_ok=True)
        tree.path(name).touch()
    for name in ("raw/README.md", "raw/.b.csv.part", "raw/.hidden/x.csv"):
        (tree.root / name).parent.mkdir(exist_ok=True)
        (tree.root / name).touch()

    assert [tree.name(path) for path in tree.files()] == [
        "raw/b.csv",
        "raw/deep/a.csv",
        "samples/s.csv",
    ]
    assert list(tree.files(Folder.CACHE)) == []


IGNORED = [
    "data/raw/a.parquet",
    "data/raw/deep/er/b c.csv",
    "data/raw/.hidden",
    "data/raw/.gitignore",
    "data/raw/samples/x.csv",
    "data/raw/README.md.parquet",
    "data/raw/readme.txt",
    "data/processed/ümläut ☃.parquet",
    "data/processed/-dash",
    "data/processed/a!b#c.csv",
    "data/external/x.json",
    "data/cache/remote/0f/x.parquet",
    "data/cache/.locks/1",
    "data/manifest.jsonl",
    "data/.manifest.jsonl.lock",
    "data/loose.csv",
    "data/other/x.csv",
    "data/samples/.env",
    "data/samples/.DS_Store",
]
TAKEN = [
    "data/README.md",
    "data/raw/README.md",
    "data/raw/deep/README.md",
    "data/processed/README.md",
    "data/external/README.md",
    "data/cache/README.md",
    "data/samples/README.md",
    "data/samples/a.csv",
    "data/samples/deep/er/b c.parquet",
    "data/samples/raw/x.csv",
    "data/samples/ümläut ☃.json",
    "data/samples/.hidden.csv",
    "src/data/raw/x.csv",
    "data.csv",
]


@pytest.mark.standard("DL-FI-02")
def test_git_takes_samples_and_readmes_alone(repository: Path) -> None:
    """Asked of git itself, and again by what `git add` does."""
    for name in (*IGNORED, *TAKEN):
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    asked = [one for name in (*IGNORED, *TAKEN) for one in (f"./{name}",)]
    ignored = git(repository, "-c", "core.quotePath=false", "check-ignore", "--no-index", *asked)
    assert sorted(line[2:] for line in ignored.splitlines()) == sorted(IGNORED)

    git(repository, "add", "--all")
    tracked = git(repository, "ls-files", "-z").split("\0")
    assert sorted(set(tracked) - {"", ".gitignore", ".gitattributes", "alembic.ini"}) == sorted(
        TAKEN
    )


def test_lfs_is_off_until_its_line_is_switched_on(repository: Path) -> None:
    asked = ("check-attr", "filter", "--", "models/deep/a.bin", "data/samples/a.csv")
    assert "lfs" not in git(repository, *asked)

    attributes = repository / ".gitattributes"
    text = attributes.read_text(encoding="utf-8")
    assert "\n# /models/** filter=lfs" in text
    attributes.write_text(text.replace("# /models", "/models"), encoding="utf-8")
    assert git(repository, *asked).splitlines() == [
        "models/deep/a.bin: filter: lfs",
        "data/samples/a.csv: filter: unspecified",
    ]
