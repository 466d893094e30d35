"""What was sent as traces, as a tree that a test can compare."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from my_project.data_layer import tracing


class Spans:
    """The spans of this process, which would go to a collector."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def ended(self) -> list[ReadableSpan]:
        """All that have ended, in the order in which they began."""
        tracing.flush()
        return sorted(self._exporter.get_finished_spans(), key=lambda one: one.start_time or 0)

    def named(self, name: str) -> ReadableSpan:
        """The only one of that name."""
        [found] = [one for one in self.ended if one.name == name]
        return found

    @property
    def tree(self) -> list[str]:
        """Their names, each below its parent with two more spaces before it."""
        spans = self.ended
        known = {one.context.span_id for one in spans if one.context}

        def below(parent: int | None) -> Iterator[str]:
            for one in spans:
                above = one.parent.span_id if one.parent else None
                if (above if above in known else None) == parent and one.context:
                    yield one.name
                    yield from (f"  {line}" for line in below(one.context.span_id))

        return list(below(None))

    @property
    def traces(self) -> set[str]:
        """The ids of their traces."""
        return {f"{one.context.trace_id:032x}" for one in self.ended if one.context}

    @property
    def text(self) -> str:
        """All that a collector is told of them."""
        return "\n".join(str(one.to_json()) for one in self.ended)


@contextmanager
def tracing_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Send traces while the block lasts, to where the test sees them."""
    monkeypatch.setenv("SEND_TRACES", "true")
    for name in ("_tracer", "_provider"):
        monkeypatch.setattr(tracing, name, None)
    exporter = InMemorySpanExporter()
    tracing.configure(exporter)
    try:
        yield Spans(exporter)
    finally:
        tracing._provider.shutdown()
