"""What `check` asks about the data tree: DL-FI."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ..atomic import leftovers
from ..checklist import Check, Finding, advice, failed, passed, survey
from ..git import answer, is_repository
from ..project import root
from ..series import InvalidSeriesName, SeriesName
from ..settings import load
from . import sizes
from .coverage import gaps, looks_like_series, overlaps, series_names
from .errors import FilesError
from .manifest import Manifest, hash_of
from .remote import Remote, remote_cache
from .settings import FilesSettings
from .sizes import readable, staged
from .tree import README, DataTree, Folder, printable

SHOWN = 5
OWN = __name__.partition(".")[0].replace("_", "-")
# Paths that git must ignore, some nested or oddly named, and paths that it must not ignore.
_OUT = ("{}/a.parquet", "{}/deep/er/b c.csv", "{}/samples/c.json", "{}/.d", "{}/deep/.gitignore")
_IN = ("samples/a.csv", "samples/deep/b c.parquet", "README.md")


def files_checks(*, every_hash: bool = False) -> list[Check]:
    """The checks of the data tree, in the order of the report.

    Args:
        every_hash: compute the hash of every recorded file, not only of those changed since.
    """

    async def ask() -> DataTree:
        return DataTree.of_settings()

    asked = survey(ask)
    recorded = partial(_manifest, every_hash=every_hash)
    return [
        Check("DL-FI-01", "The data tree is there", asked(_tree)),
        Check(
            "DL-FI-02",
            "git tracks only samples and READMEs of the data tree",
            asked(_git_strategy),
            of_repository=True,
        ),
        Check(
            "DL-FI-03",
            "Files in git keep to the size guidelines",
            asked(_sizes),
            of_repository=True,
        ),
        Check("DL-FI-04", "Time series files are named by the convention", asked(_names)),
        Check(
            "DL-FI-05",
            "Time series have neither gaps nor overlaps",
            asked(_coverage),
            required=False,
        ),
        Check(
            "DL-FI-06", "data/README.md documents every source", asked(_sources), of_repository=True
        ),
        Check("DL-FI-07", "Recorded files are what was recorded", asked(recorded)),
        Check("DL-FI-08", "The remote answers", asked(_remote)),
        Check("DL-FI-09", "The cache keeps to its size", asked(_cache)),
        Check("DL-FI-10", "No write was left half done", asked(_leftovers), required=False),
    ]


def _tree(tree: DataTree) -> Finding:
    if missing := tree.missing():
        return failed(
            f"{tree.root} lacks {', '.join(missing)}.",
            "Run `files init`; it makes what is missing.",
        )
    return passed(f"{tree.root} has {', '.join(Folder)}.")


def _git_strategy(tree: DataTree) -> Finding:
    project = root().resolve()
    if not tree.root.is_relative_to(project):
        return passed(f"{tree.root} is outside of the project, where git doesn't look.")
    if not is_repository(project):
        return advice("The project is no git repository yet.", "Type git init.")
    inside = tree.root.relative_to(project).as_posix()
    # git does not look behind a symbolic link; it takes or ignores the link itself.
    out = [
        f"{inside}/{pattern.format(folder.value)}"
        for folder in Folder
        if folder is not Folder.SAMPLES
        for pattern in (("{}",) if tree.folder(folder).is_symlink() else _OUT)
    ]
    kept = [f"{inside}/{name}" for name in _IN]
    asked = "".join(f"{path}\0" for path in (*out, *kept))
    told = answer(project, "check-ignore", "--no-index", "--stdin", "-z", stdin=asked, codes=(0, 1))
    ignored = set(told.split("\0"))
    wrong = [f"would take {path}" for path in out if path not in ignored]
    wrong += [f"would not take {path}" for path in kept if path in ignored]
    wrong += [
        f"tracks {printable(path)}"
        for path in staged(project, inside)
        if Path(path).name != README and not path.startswith(f"{inside}/{Folder.SAMPLES.value}/")
    ]
    if wrong:
        return failed(
            f"git {_some(wrong)}.",
            "Restore the block `Data` of .gitignore, and take what is tracked out of git with "
            "`git rm --cached`.",
        )
    return passed("git ignores all of the data tree but samples and READMEs.")


def _sizes(tree: DataTree) -> Finding:
    judged = sizes.judge(root().resolve(), tree)
    if judged.refused:
        return failed(
            _some(judged.refused, " "),
            "Take them out with `git rm --cached`; what is committed already stays in the history.",
        )
    if judged.suggested:
        return advice(
            _some(judged.suggested, " "),
            "docs/data-layer/files.md shows how Git LFS is switched on.",
        )
    return passed(
        f"No tracked file is larger than {readable(sizes.LFS_FROM)} outside of LFS, and the "
        f"samples have {readable(judged.samples)} of {readable(sizes.SAMPLES_LIMIT)}."
    )


def _names(tree: DataTree) -> Finding:
    wrong, unlike, right = [], [], 0
    for path in tree.files(Folder.RAW, Folder.PROCESSED, Folder.EXTERNAL):
        try:
            SeriesName.parse(path.name)
            right += 1
        except InvalidSeriesName as error:
            if looks_like_series(path.name):
                wrong.append(f"{_within(tree, path)}: {error}")
            elif path.suffix == ".parquet":
                unlike.append(_within(tree, path))
    if wrong:
        return failed(_some(wrong, " "), "Rename them, and what writes them.")
    if unlike:
        return advice(
            f"Not named as time series: {_some(unlike)}.",
            "If they are, name them {source}_{asset}_{timeframe}_{start}_{end}.parquet.",
        )
    return passed(f"Files named as time series: {right}; none is named wrong.")


def _coverage(tree: DataTree) -> Finding:
    told = []
    for folder in (Folder.RAW, Folder.PROCESSED, Folder.EXTERNAL):
        names = series_names(tree.files(folder))
        told += [
            f"{folder}: {'_'.join(gap.series)} lacks {gap.start} to {gap.end}"
            for gap in gaps(names)
        ]
        told += [
            f"{folder}: {overlap.first} and {overlap.second} both hold {overlap.start} to "
            f"{overlap.end}"
            for overlap in overlaps(names)
        ]
    if told:
        return advice(f"{_some(told, '; ')}.", "Fetch what is missing; cut what is double.")
    return passed("No series lacks a day between its files or has one twice.")


def _sources(tree: DataTree) -> Finding:
    readme = tree.root / README
    if not readme.is_file():
        return failed(f"There is no {readme}.", "Run `files init`, and add a line for each source.")
    text = readme.read_text(encoding="utf-8").lower()
    named = {entry.source for entry in Manifest(tree).entries().values()}
    unnamed = {one for one in named if one.lower() not in text}
    unnamed |= {
        printable(path.name) for path in tree.files(Folder.SAMPLES) if path.name.lower() not in text
    }
    for path in tree.files(Folder.RAW, Folder.PROCESSED, Folder.EXTERNAL):
        unnamed |= {name.source for name in series_names([path]) if name.source.lower() not in text}
    # Files that this project exports from its own database have no other source.
    unnamed.discard(OWN)
    if unnamed:
        return failed(
            f"{readme.name} of the data tree does not name {_some(sorted(unnamed))}.",
            "Add a line for each to its table: where it comes from, under which licence.",
        )
    return passed("Every source of the manifest, of the names and of the samples is named.")


def _manifest(tree: DataTree, every_hash: bool) -> Finding:
    entries = Manifest(tree).entries()
    wrong = []
    read = 0
    for entry in entries.values():
        path = tree.path(entry.path)
        if not path.is_file():
            wrong.append(f"{entry.path} is gone")
            continue
        about = path.stat()
        if about.st_size != entry.size:
            wrong.append(f"{entry.path} has {about.st_size:,} bytes, not {entry.size:,}")
        elif every_hash or about.st_mtime > entry.time.timestamp():
            read += 1
            if hash_of(path) != entry.sha256:
                wrong.append(f"{entry.path} has another content")
    if wrong:
        return failed(
            f"{_some(wrong, '; ')}.",
            "Get them again with their scripts; forget one that is deleted on purpose with "
            "`files forget`.",
        )
    return passed(f"Recorded files: {len(entries)}, of which {read} were read for their hash.")


def _remote(tree: DataTree) -> Finding:
    settings = load(FilesSettings)
    if settings.remote_url is None:
        return passed("No remote is set.")
    try:
        Remote(settings, tree).answers()
    except FilesError as error:
        return failed(str(error), "Look at FILES_REMOTE_URL, at the credentials, at the network.")
    return passed("The remote lists its files.")


def _cache(tree: DataTree) -> Finding:
    settings = load(FilesSettings)
    used = remote_cache(tree, settings).used()
    evidence = f"Copies of remote files take {readable(used)} of {readable(settings.cache_size)}."
    if used > settings.cache_size:
        return failed(evidence, "Run `files prune-cache`, or raise FILES_CACHE_SIZE.")
    return passed(evidence)


def _leftovers(tree: DataTree) -> Finding:
    left = [_within(tree, path) for path in leftovers(tree.root)]
    if left:
        return advice(
            f"Left by writes or downloads that were killed: {_some(left)}.",
            "Type the command again that made them, or run `files prune-cache`.",
        )
    return passed("Every file that was begun is complete or being written.")


def _within(tree: DataTree, path: Path) -> str:
    return printable(path.relative_to(tree.root).as_posix())


def _some(sentences: Iterable[str], between: str = ", ") -> str:
    """The first few, and how many there are beyond."""
    every = list(sentences)
    more = f" (and {len(every) - SHOWN} more)" if len(every) > SHOWN else ""
    return f"{between.join(every[:SHOWN])}{more}"
