"""Traces: a request, and its transactions, statements, jobs and sagas, as spans of one trace.

No span holds a value of a row, a parameter or a key, nor the text of an error, which may quote a
value. The trace's id is made from the id of the request, so a saga that goes on hours later is in
the trace of the request that started it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from pydantic_settings import SettingsConfigDict

from . import dotenv, logs
from .project import ADOPTED, PROGRAM
from .settings import ENV_FILE, InvalidSettings, Settings, load

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

Attributes: TypeAlias = Mapping[str, str | int]

_NOTHING: AbstractContextManager[Any] = nullcontext()

# None while traces are off: then OpenTelemetry need not be installed.
_tracer: Any = None
_provider: Any = None


class TracingSettings(Settings):
    """`SEND_TRACES`; OpenTelemetry's own variables, `OTEL_…`, say where to and how many.

    Attributes:
        traces: send them to the collector at `OTEL_EXPORTER_OTLP_ENDPOINT`, by OTLP over HTTP.
    """

    model_config = SettingsConfigDict(env_prefix="SEND_")

    traces: bool = False


def configure(exporter: "SpanExporter | None" = None) -> None:
    """Let this process send traces if `SEND_TRACES` says so; call it before opening a database.

    A provider that the program has set itself, by `trace.set_tracer_provider`, is used as it is.

    Args:
        exporter: where spans go instead of the collector, as in a test.

    Raises:
        InvalidSettings: a setting is wrong, or OpenTelemetry is not installed.
    """
    global _provider, _tracer
    if _tracer is not None or not load(TracingSettings).traces:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ImportError:
        packages = "add opentelemetry-api opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        raise InvalidSettings(
            "SEND_TRACES is true, but OpenTelemetry is not installed; type "
            f"`uv {packages if ADOPTED else 'sync --group tracing'}`."
        ) from None

    class Ids(RandomIdGenerator):  # type: ignore[misc, unused-ignore]
        def generate_trace_id(self) -> int:
            found: int = _trace_id(logs.request_id()) or super().generate_trace_id()
            return found

    # OpenTelemetry itself does not read .env, where all other settings may stand.
    for one in dotenv.read(Path(ENV_FILE)) if Path(ENV_FILE).is_file() else ():
        if one.key and one.key.startswith("OTEL_") and one.value:
            os.environ.setdefault(one.key, one.value)
    os.environ.setdefault("OTEL_SERVICE_NAME", PROGRAM)
    theirs = trace.get_tracer_provider()
    if not isinstance(theirs, trace.ProxyTracerProvider):
        _tracer = theirs.get_tracer(__name__)
        return
    # Not set for the whole process: FastAPI would make spans of its own, with paths and queries.
    _provider = TracerProvider(id_generator=Ids())
    _provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    _tracer = _provider.get_tracer(__name__)


def is_on() -> bool:
    """Whether this process sends traces."""
    return _tracer is not None


def flush() -> None:
    """Send the spans that still wait; a web server must, as its stop signal ends it at once."""
    if _provider is not None:
        _provider.force_flush()


def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: str = "INTERNAL",
    carried: Mapping[str, Any] | None = None,
) -> AbstractContextManager[Any]:
    """A span of work that begins here, as a request or a job; yields it, or None if traces are off.

    Args:
        name: one of few names, such as that of a route; never a value.
        attributes: what else is known of the work, without values, too.
        kind: one of OpenTelemetry's `SpanKind`.
        carried: what `carried()` returned where the work was sent; without it, the work
            belongs to the span that is open here, or begins a trace.
    """
    return _NOTHING if _tracer is None else _begun(name, attributes, kind, carried)


def part(
    name: str, attributes: Attributes | None = None, *, kind: str = "INTERNAL"
) -> AbstractContextManager[Any]:
    """A span inside the open span, as `span`; nothing where no span is open.

    So a loop that asks again and again whether there is work leaves no trace.
    """
    if _tracer is None:
        return _NOTHING
    from opentelemetry.trace import get_current_span

    return _begun(name, attributes, kind) if get_current_span().is_recording() else _NOTHING


def failed(what: BaseException | int) -> None:
    """Mark the open span as failed, with the type of an error or a status of HTTP."""
    if _tracer is not None:
        from opentelemetry.trace import StatusCode, get_current_span

        kind = type(what).__name__ if isinstance(what, BaseException) else str(what)
        get_current_span().set_attribute("error.type", kind)
        get_current_span().set_status(StatusCode.ERROR)


def carried() -> dict[str, str]:
    """The headers by which another program continues the open span; empty if traces are off."""
    there: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.propagate import inject

        inject(there)
    return there


@contextmanager
def _begun(name: str, known: Attributes | None, kind: str, carried: Any = None) -> Iterator[Any]:
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    about = {"request_id": identifier} if (identifier := logs.request_id()) else {}
    with _tracer.start_as_current_span(
        name,
        context=extract(carried) if carried else None,
        kind=SpanKind[kind],
        attributes={**(known or {}), **about},
        record_exception=False,
        set_status_on_exception=False,
    ) as begun:
        try:
            yield begun
        except BaseException as error:
            failed(error)
            raise


def _trace_id(identifier: str | None) -> int:
    """One trace id for everything about one request; 0, which means none, without its id."""
    if identifier is None:
        return 0
    try:
        return UUID(identifier).int
    except ValueError:
        return int.from_bytes(sha256(identifier.encode()).digest()[:16])
