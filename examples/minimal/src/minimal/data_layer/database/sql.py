"""Raw SQL for complex queries: statements in files, parameters bound, rows typed (DL-SQL-01)."""

from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import Executable, TextClause, text

from ..errors import DataLayerError
from .session import ReadSession

Row = TypeVar("Row")

# Rows that a stream fetches at once.
BATCH = 1_000


class RowMismatch(DataLayerError):
    """The rows of a statement do not fit the type that was asked for."""


class NoSingleRow(DataLayerError):
    """A statement gave no row, or several, where exactly one was asked for."""


@cache
def statement(package: str, name: str) -> TextClause:
    """The statement in the file `name` that lies beside the modules of `package`.

    Write a parameter as `:name`, or with a type as `CAST(:name AS type)`; `fetch_all`, `fetch_one`
    and `stream` bind it.

    Args:
        package: usually `__package__`.
        name: the path of the file within the package, for example `sql/turnover.sql`.

    Raises:
        DataLayerError: there is no such file.
    """
    return text(sql_file(package, name))


def sql_file(package: str, name: str) -> str:
    """The text of the file `name` in `package`; arguments and errors are those of `statement`."""
    try:
        return resources.files(package).joinpath(name).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataLayerError(
            f"The package {package} has no SQL file {name}; correct the name, or see that the file "
            "is installed with the package."
        ) from error


async def fetch_all(
    session: ReadSession, statement: Executable, row: type[Row], /, **parameters: Any
) -> list[Row]:
    """Run a statement and return all its rows.

    Args:
        session: the session of the transaction.
        statement: from `statement`, `sqlalchemy.text` or `sqlalchemy.select`.
        row: a dataclass, a NamedTuple or a pydantic model with one field for each column.
        parameters: the values of the bound parameters.

    Raises:
        RowMismatch: the columns do not fit the fields, or a value is not of its field's type.
    """
    result = await session.execute(statement, parameters)
    convert = _converter(row, tuple(result.keys()))
    return [convert(mapping) for mapping in result.mappings()]


async def fetch_one(
    session: ReadSession, statement: Executable, row: type[Row], /, **parameters: Any
) -> Row:
    """Run a statement that gives exactly one row; all else is as in `fetch_all`.

    Raises:
        NoSingleRow: the statement gave no row, or several.
        RowMismatch: as in `fetch_all`.
    """
    rows = await fetch_all(session, statement, row, **parameters)
    if len(rows) != 1:
        raise NoSingleRow(
            f"The statement gave {len(rows)} rows where exactly one {row.__name__} was asked for."
        )
    return rows[0]


async def stream(
    session: ReadSession, statement: Executable, row: type[Row], /, **parameters: Any
) -> AsyncGenerator[Row, None]:
    """Run a statement and yield its rows as they come, through a cursor of the server.

    Arguments and errors are those of `fetch_all`.
    """
    result = await session.stream(statement, parameters, execution_options={"yield_per": BATCH})
    try:
        convert = _converter(row, tuple(result.keys()))
        async for mapping in result.mappings():
            yield convert(mapping)
    finally:
        await result.close()


def _converter(row: type[Row], columns: tuple[str, ...]) -> Callable[[Any], Row]:
    known, required = _fields(row)
    faults = []
    if missing := required - set(columns):
        faults.append(f"the statement has no column {', '.join(sorted(missing))}")
    if surplus := set(columns) - known:
        faults.append(f"{row.__name__} has no field {', '.join(sorted(surplus))}")
    if len(set(columns)) < len(columns):
        faults.append("two columns have one name")
    if faults:
        raise RowMismatch(f"The rows do not fit {row.__name__}: {'; '.join(faults)}.")
    # To mypy a generic `type[Row]` is not hashable.
    adapter: TypeAdapter[Row] = _adapter(cast("Any", row))

    def convert(mapping: Any) -> Row:
        try:
            return adapter.validate_python(dict(mapping))
        except ValidationError as error:
            raise RowMismatch(
                f"A row does not fit {row.__name__}: {'; '.join(_reasons(error))}."
            ) from None

    return convert


@cache
def _adapter(row: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(row)


def _fields(row: type[Any]) -> tuple[set[str], set[str]]:
    """The names of all fields, and of those without a default."""
    if issubclass(row, BaseModel):
        model = row.model_fields
        return set(model), {name for name, field in model.items() if field.is_required()}
    if is_dataclass(row):
        given = [field for field in fields(row) if field.init]
        return {field.name for field in given}, {
            field.name
            for field in given
            if field.default is MISSING and field.default_factory is MISSING
        }
    names, defaults = getattr(row, "_fields", None), getattr(row, "_field_defaults", {})
    if issubclass(row, tuple) and names:
        return set(names), set(names) - set(defaults)
    raise TypeError(f"{row.__name__} is neither a dataclass nor a NamedTuple nor a pydantic model.")


def _reasons(error: ValidationError) -> Iterable[str]:
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        yield f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
