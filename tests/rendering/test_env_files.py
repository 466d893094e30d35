"""What docker compose reads in the `.env` files of the deep tests, asked of docker compose."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.projects import ROOT, clean_environment, run
from tests.rendering.test_python import tool

FILES: list[dict[str, Any]] = json.loads(
    (ROOT / "tests" / "layer" / "cli" / "env_files.json").read_text(encoding="utf-8")
)
COMPOSE = """\
name: test
services:
  any:
    image: any
    environment:
      PASSWORD: "${DATABASE_PASSWORD-}"
"""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["text"])
def test_compose_reads_what_is_recorded(tmp_path: Path, file: dict[str, Any]) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE, encoding="utf-8")
    (tmp_path / ".env").write_bytes(file["text"].encode("latin-1"))

    done = run(
        *(tool("docker-compose"), "config", "--format", "json"),
        cwd=tmp_path,
        env=clean_environment() | {"HOME": "/root"},
        check=False,
    )

    read = None
    if done.returncode == 0:
        [service] = json.loads(done.stdout)["services"].values()
        read = service["environment"]["PASSWORD"].replace("$$", "$")
    assert read == file["compose"]
