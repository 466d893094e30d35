"""Keep schema and code apart: what a set of commits may change at once (DL-MIG-07)."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from .errors import DataLayerError
from .git import answer, ask
from .modules.source import code_folders
from .project import migrations_folder

MODELS = ("**/models.py", "**/models/**")


def files_since(base: str, root: Path) -> tuple[str, list[str]] | None:
    """The files that the commits of `HEAD` changed since they branched off `base`.

    Args:
        base: a branch, tag or commit.
        root: of the project; the paths are relative to it, and paths outside are left out.

    Returns:
        The commit where they branched off, and the paths. None when `base` is empty, or a full
        commit id that is not in the clone: the first push of a branch names one (all zeros), and
        so does a forced push.

    Raises:
        DataLayerError: git can't tell.
    """
    answer(root, "rev-parse", "--git-dir")  # raises where there is no repository
    commit = ask(root, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}").stdout.strip()
    if not commit:
        if re.fullmatch("(?:[0-9a-f]{40}|[0-9a-f]{64})?", base):
            return None
        raise DataLayerError(
            f"There is no commit {base} in this clone; fetch it (in CI: check out the whole "
            "history, fetch-depth: 0), or name another with --base."
        )
    fork = ask(root, "merge-base", commit, "HEAD").stdout.strip()
    if not fork:
        raise DataLayerError(
            f"HEAD and {base} have no commit in common; fetch the whole history, or name another "
            "commit with --base."
        )
    names = answer(root, "diff", "--relative", "--name-only", "--no-renames", "-z", fork, "HEAD")
    return fork, [name for name in names.split("\0") if name]


def mixed_files(base: str, root: Path, allow: Sequence[str] = ()) -> tuple[list[str], str]:
    """The code that changes together with migrations since `base`, and the verdict as a sentence.

    Migrations may change together with the models that they follow, and with tests, pages and
    configuration. Any other file in the packages is code for the next deployment.

    Args:
        base: a branch, tag or commit.
        root: of the project.
        allow: patterns of further paths that may change together with a migration; `*` matches
            every character, `/` too.
    """
    changes = files_since(base, root)
    if changes is None:
        return [], f"The base {base or '(none)'} is not in this clone: nothing to compare with."
    fork, files = changes
    environment = f"{migrations_folder(root)}/"
    versions = f"{environment}versions/"
    migrations = [name for name in files if name.startswith(versions) and name.endswith(".py")]
    if not migrations:
        return [], f"No migration changes since {base}."
    before = answer(root, "ls-tree", "-r", "--name-only", fork, "--", versions)
    if not any(name.endswith(".py") for name in before.splitlines()):
        return [], f"These are the first migrations: {base} has none, so no code runs on them yet."
    permitted = (*MODELS, *allow)
    code = [
        name
        for name in files
        if name.startswith(tuple(f"{folder}/" for folder in code_folders(root)))
        and not name.startswith(environment)
        and not any(fnmatchcase(name, glob) for glob in permitted)
    ]
    if not code:
        return [], f"The schema changes ({', '.join(migrations)}), and no code with it."
    return code, (
        f"The schema ({', '.join(migrations)}) and code ({', '.join(code)}) change at once. While "
        "a deployment runs, the old code meets the new schema or the new code the old one. Split "
        "it: first a change set with the migration and the models alone, deployed by itself; then "
        "the code; then, if something old goes, a last migration (docs/data-layer/migrations.md)."
    )
