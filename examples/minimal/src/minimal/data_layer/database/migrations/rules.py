"""The rules for every migration file; judged by its source, so that no database is needed."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from .errors import MigrationError
from .naming import problem_with_name

Function = ast.FunctionDef | ast.AsyncFunctionDef

_CHANGES_ROWS = re.compile(r"(?is)\s*(?:UPDATE\s+\S+.*?\sSET\s|DELETE\s+FROM\s)")
_NOT_REPEATABLE = re.compile(
    r"(?is)\s*(?:CREATE|DROP|ALTER\s+TYPE)\s(?!.*\bIF\s+(?:NOT\s+)?EXISTS\b)"
)
_REASON = re.compile(r"#\s*unbatched:\s*\S")
_EXECUTES = {"execute", "scalar", "scalars", "exec_driver_sql"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A migration file that breaks a rule.

    Attributes:
        demand: the id of the standard's demand.
        sentence: what is wrong and what to do.
    """

    demand: str
    sentence: str


def baseline(config: Config) -> str | None:
    """The revision that a history had reached before it followed the rules; None without one.

    `alembic.ini` names it as `migrations_baseline`. It and the revisions before are not judged.

    Raises:
        MigrationError: there is no such revision.
    """
    named = config.get_main_option("migrations_baseline")
    if not named:
        return None
    try:
        return ScriptDirectory.from_config(config).get_revision(named).revision
    except CommandError:
        raise MigrationError(
            f"migrations_baseline in alembic.ini names {named}, which is no revision; name the one "
            "that `alembic heads` showed when the project adopted the rules, or delete the line."
        ) from None


def migration_files(config: Config) -> list[Path]:
    """The migration files of the project that are judged, oldest name first."""
    scripts = ScriptDirectory.from_config(config)
    before = baseline(config)
    old = {
        Path(script.path).resolve()
        for script in (scripts.iterate_revisions(before, "base") if before else ())
    }
    versions = Path(scripts.versions)
    return sorted(file for file in versions.glob("*.py") if file.resolve() not in old)


def problems_in(files: Sequence[Path]) -> list[Problem]:
    """Every rule that a file breaks: DL-MIG-01 names, -02 both directions, -08, -09."""
    return [problem for file in files for problem in _problems_in(file)]


def problems_of_line(config: Config) -> list[Problem]:
    """DL-MIG-03: the migrations are one line, from one first file to one last."""
    scripts = ScriptDirectory.from_config(config)
    problems = []
    firsts = [] if baseline(config) else scripts.get_bases()
    for what, revisions in [("first", firsts), ("last", scripts.get_heads())]:
        if len(revisions) > 1:
            names = sorted(Path(scripts.get_revision(revision).path).name for revision in revisions)
            problems.append(
                Problem(
                    "DL-MIG-03",
                    f"{' and '.join(names)} are each the {what} migration; set down_revision of "
                    "the newer one so that it follows the other.",
                )
            )
    return problems


def _problems_in(file: Path) -> Iterator[Problem]:
    if sentence := problem_with_name(file):
        yield Problem("DL-MIG-01", sentence)
    source = file.read_text(encoding="utf-8")
    try:
        tree = ast.parse(source, str(file))
    except SyntaxError as error:
        yield Problem("DL-MIG-02", f"{file.name}: line {error.lineno} is not Python.")
        return
    functions = {node.name: node for node in tree.body if isinstance(node, Function)}
    for name in ("upgrade", "downgrade"):
        if sentence := _missing(file, name, functions.get(name)):
            yield Problem("DL-MIG-02", sentence)
    yield from _unbatched(file, tree, source.splitlines())
    yield from _not_repeatable(file, tree)


def _missing(file: Path, name: str, function: Function | None) -> str | None:
    if function is None:
        return f"{file.name}: there is no {name}()."
    statements = [node for node in function.body if not _does_nothing(node)]
    if not statements:
        remedy = (
            "write how to undo the upgrade, or why it can't be: irreversible('the reason')"
            if name == "downgrade"
            else "write the change, or remove the file"
        )
        return f"{file.name}: {name}() is empty; {remedy}."
    if len(statements) == 1 and _gives_up_without_reason(statements[0]):
        return f"{file.name}: {name}() gives up without a reason; say why in words."
    return None


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Return):
        return node.value is None or isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _gives_up_without_reason(node: ast.stmt) -> bool:
    call = node.exc if isinstance(node, ast.Raise) else getattr(node, "value", None)
    if isinstance(node, ast.Raise) and not isinstance(call, ast.Call):
        return True
    if not isinstance(call, ast.Call):
        return False
    if not isinstance(node, ast.Raise) and _called(call) != "irreversible":
        return False
    words = [
        part.value
        for argument in call.args
        for part in ast.walk(argument)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    return not "".join(words).strip()


def _unbatched(file: Path, tree: ast.Module, lines: list[str]) -> Iterator[Problem]:
    in_batches = {
        id(part)
        for call in _calls(tree)
        if _called(call) == "in_batches"
        for part in ast.walk(call)
    }
    # Docstrings are no statements, and the pieces of an f-string are judged together.
    pieces = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr | ast.JoinedStr)
        for part in ([node.value] if isinstance(node, ast.Expr) else node.values)
    }
    suspects: list[ast.expr] = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr)
        and id(node) not in pieces
        and _CHANGES_ROWS.match(_literal(node))
    ]
    suspects += [
        built
        for call in _calls(tree)
        if _called(call) in _EXECUTES
        for argument in call.args
        for built in _calls(argument)
        if _called(built) in {"update", "delete"}
    ]
    for node in suspects:
        reasons = lines[max(node.lineno - 2, 0) : node.end_lineno or node.lineno]
        if id(node) in in_batches or any(_REASON.search(line) for line in reasons):
            continue
        yield Problem(
            "DL-MIG-09",
            f"{file.name}: line {node.lineno} changes rows in one transaction and locks them all; "
            "use in_batches(), or say in a comment why not: # unbatched: a table of twelve rows.",
        )


def _not_repeatable(file: Path, tree: ast.Module) -> Iterator[Problem]:
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any(
            isinstance(item.context_expr, ast.Call)
            and _called(item.context_expr) == "autocommit_block"
            for item in node.items
        )
    ]
    for call in (call for block in blocks for call in _calls(block)):
        option = {"create": "if_not_exists", "add": "if_not_exists", "drop": "if_exists"}.get(
            (_called(call) or "").partition("_")[0]
        )
        literals = [arg.value for arg in call.args[:1] if isinstance(arg, ast.Constant)]
        repeatable = (
            any(keyword.arg == option for keyword in call.keywords)
            if option
            else _called(call) not in _EXECUTES
            or not any(_NOT_REPEATABLE.match(str(literal)) for literal in literals)
        )
        if not repeatable and not (_called(call) or "").endswith("_concurrently"):
            yield Problem(
                "DL-MIG-08",
                f"{file.name}: line {call.lineno} runs outside of a transaction and fails when it "
                f"is repeated; add {option or 'IF [NOT] EXISTS'}.",
            )


def _literal(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(
        _literal(part) if isinstance(part, ast.Constant) else "…" for part in node.values
    )


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _called(call: ast.Call) -> str | None:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return None
