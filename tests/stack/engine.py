"""A container engine of the tests' own: it touches no other one, and no rule of a firewall."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.projects import run

PACKAGES = {"dockerd": "docker.io", "iptables": "iptables", "mmdebstrap": "mmdebstrap"}
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PATIENCE = 300


def install() -> None:
    """Install the engine and what makes root file systems, where they are missing.

    Raises:
        RuntimeError: this machine can't have them.
    """
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not KEYS.exists():
        missing.append("debian-archive-keyring")
    if os.geteuid() != 0:
        raise RuntimeError("The stack's tests start a container engine, which root alone can do.")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise RuntimeError(f"The stack's tests need {', '.join(missing)}; install them.")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", cwd=Path("/"), env=quiet)
    command = ("apt-get", "install", "-qq", "--yes", "--no-install-recommends")
    run(*command, *missing, cwd=Path("/"), env=quiet)


def program() -> str:
    """`docker` of the engine's own package: another one may lack what builds images."""
    return shutil.which("docker", path=f"/usr/bin{os.pathsep}{os.environ['PATH']}") or "docker"


@contextmanager
def engine(data: Path) -> Iterator[dict[str, str]]:
    """Run an engine that keeps its images in `data`; yields the variables that lead to it.

    Raises:
        RuntimeError: it does not start.
    """
    data.mkdir(parents=True, exist_ok=True)
    # The path of a socket is short.
    with TemporaryDirectory(prefix="stack-") as folder:
        private = Path(folder)
        address = f"unix://{private}/docker.sock"
        with (private / "log").open("w") as log:
            process = subprocess.Popen(
                [
                    *("dockerd", "--data-root", str(data), "--exec-root", f"{private}/exec"),
                    *("--pidfile", f"{private}/pid", "--host", address),
                    *("--storage-driver", "overlay2", "--iptables=false"),
                ],
                stdout=log,
                stderr=log,
            )
        variables = {"DOCKER_HOST": address, "DOCKER_BUILDKIT": "1"}
        try:
            deadline = time.monotonic() + PATIENCE
            while _asked(variables) != 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (private / "log").read_text(encoding="utf-8")
                    raise RuntimeError(f"The container engine did not start:\n{said[-4000:]}")
                time.sleep(0.1)
            yield variables
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def _asked(variables: dict[str, str]) -> int:
    return subprocess.run(
        [program(), "info"], env=os.environ | variables, capture_output=True, check=False
    ).returncode
