"""A real S3 server on this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import from_url

from tests.layer.seaweedfs import SeaweedFS, seaweedfs

BUCKET = "history"
SECONDS = 300


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run the server until the block is left.

    Yields the variables with which obstore, like every other client, finds it.
    """
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "only-for-the-tests"}
    with seaweedfs(folder, f"-bucket={BUCKET}", **keys) as server:
        variables = keys | {
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.ports['s3']}",
            "AWS_ALLOW_HTTP": "true",
        }
        _wait(server, variables)
        yield variables


def _wait(server: SeaweedFS, variables: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        store = from_url(f"s3://{BUCKET}", retry_config={"max_retries": 0})
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            obstore.put(store, "ready", b"yes")
            obstore.delete(store, "ready")
        except BaseError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                server.fail()
            time.sleep(0.1)
        else:
            return
