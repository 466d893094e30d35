"""File names of migrations: `YYYYMMDD_HHMMSS_description.py`, in UTC."""

import re
import unicodedata
from datetime import datetime
from pathlib import Path

from .errors import MigrationError

MAX_DESCRIPTION = 60

_NAME = re.compile(r"(\d{8}_\d{6})_([a-z0-9]+(?:_[a-z0-9]+)*)\.py")


def description(message: str | None) -> str:
    """What a message becomes in a file name: `Ünïcode Ärger!` gives `unicode_arger`.

    Raises:
        MigrationError: when the message is empty, has no letter or digit that ASCII knows, or is
            longer than 60 characters.
    """
    plain = unicodedata.normalize("NFKD", (message or "").casefold()).encode("ascii", "ignore")
    words = "_".join(re.findall("[a-z0-9]+", plain.decode()))
    if not words:
        raise MigrationError(
            "The message of the migration gives no file name; say in a few English words what it "
            'changes, for example: alembic revision --autogenerate -m "add the e-mail of accounts".'
        )
    if len(words) > MAX_DESCRIPTION:
        raise MigrationError(
            f"The message of the migration makes a file name of {len(words)} characters; use at "
            f"most {MAX_DESCRIPTION}, and put the rest into the docstring of the file."
        )
    return words


def problem_with_name(path: Path) -> str | None:
    """Say in a sentence what is wrong with the name of a migration file, None when nothing is."""
    match = _NAME.fullmatch(path.name)
    if match:
        try:
            datetime.strptime(match[1], "%Y%m%d_%H%M%S")  # noqa: DTZ007
        except ValueError:
            return f"{path.name}: {match[1]} is not a date and time (YYYYMMDD_HHMMSS, in UTC)."
        if len(match[2]) <= MAX_DESCRIPTION:
            return None
        return f"{path.name}: the description is longer than {MAX_DESCRIPTION} characters."
    return (
        f"{path.name}: the name of a migration is YYYYMMDD_HHMMSS_description.py with a lowercase "
        "description of letters, digits and underscores; `alembic revision -m` makes it so."
    )
