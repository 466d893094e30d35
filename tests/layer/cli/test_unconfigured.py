"""What a person sees who types a command before `init`."""

import os
import subprocess
import sys
from pathlib import Path

from my_project.data_layer.project import PACKAGE


def test_a_missing_setting_is_one_sentence(tmp_path: Path) -> None:
    settings = {"DATABASE_URL", "MIGRATION_URL"}
    done = subprocess.run(
        [sys.executable, "-m", PACKAGE, "check"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "DATABASE_URL is not set" in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stdout + done.stderr
