"""Traces are off without a setting, need nothing then, and go to a collector with it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from my_project.data_layer import tracing
from my_project.data_layer.settings import InvalidSettings
from tests.layer.collector import collecting

PROGRAM = """
import sys

{before}
from my_project.data_layer import logs, tracing

tracing.configure()
with logs.about("desk-1"), tracing.span("nightly"), tracing.part("rows", {{"table": "notes"}}):
    tracing.failed(ValueError("hunter2"))
{after}
"""
WITHOUT = 'sys.modules["opentelemetry"] = None'


def run(
    folder: Path, *, before: str = "", after: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before, after=after)],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_nothing_is_imported_while_they_are_off(tmp_path: Path) -> None:
    """FastAPI brings OpenTelemetry's interface, and imports it, but not what makes spans."""
    layer = "from my_project.data_layer import cli, database, sagas"
    show = """
print([name for name in sys.modules if name.startswith("opentelemetry")])
from my_project.data_layer import http
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exp"))])
"""
    done = run(tmp_path, before=layer, after=show)
    assert (done.stdout, done.stderr) == ("[]\n[]\n", "")
    assert run(tmp_path, before=WITHOUT, SEND_TRACES="false").stderr == ""


def test_a_setting_without_the_packages_is_a_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, before=WITHOUT, SEND_TRACES="true")
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        "SEND_TRACES is true, but OpenTelemetry is not installed; type `uv sync --group tracing`."
    )


def test_a_wrong_setting_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEND_TRACES", "perhaps")
    with pytest.raises(InvalidSettings, match="SEND_TRACES"):
        tracing.configure()


def test_a_collector_is_sent_them_by_the_variables_of_opentelemetry(tmp_path: Path) -> None:
    with collecting() as collector:
        lines = ("SEND_TRACES=true", f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}", "OTEL_EMPTY=")
        (tmp_path / ".env").write_text("\n".join(lines))
        assert run(tmp_path).stderr == ""
        assert run(tmp_path, OTEL_SERVICE_NAME="desk").stderr == ""
        assert run(tmp_path, SEND_TRACES="false").stderr == ""
        assert run(tmp_path, OTEL_TRACES_SAMPLER="always_off").stderr == ""
    assert collector.spans == [
        ("my-project", "rows"),
        ("my-project", "nightly"),
        ("desk", "rows"),
        ("desk", "nightly"),
    ]


def test_a_collector_that_is_not_there_holds_nobody_up(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(tmp_path, SEND_TRACES="true", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 20


def test_a_provider_of_the_program_is_used_as_it_is(tmp_path: Path) -> None:
    theirs = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
provider = TracerProvider()
provider.add_span_processor(
    SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + " "))
)
trace.set_tracer_provider(provider)
"""
    done = run(tmp_path, before=theirs, after="tracing.flush()", SEND_TRACES="true")
    assert (done.stdout.split(), done.stderr) == (["rows", "nightly"], "")
