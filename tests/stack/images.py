"""Stand-ins for the images that the rendered files name, from one root file system of Debian."""

import hashlib
import json
import re
from pathlib import Path

import yaml

from tests.engines.debian import mirror
from tests.projects import clean_environment, run, uv
from tests.rendering.test_python import tool
from tests.stack.engine import program

# Of the stable suite what the images stand on; of the next one what the compose files name.
SUITE, NEXT = "trixie", "forky"
# The Dockerfile of 0.1.0 has no certificates: with them all of its images come of one archive.
INCLUDED = ("busybox", "ca-certificates", "postgresql-17", "procps", "python3", "valkey-server")
INCLUDED_OF_NEXT = (
    *("caddy", "prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "promtool"),
    *("prometheus-postgres-exporter", "prometheus-redis-exporter"),
)
# Debian has no Grafana: the dashboards' queries are asked of Prometheus instead.
WITHOUT = ("grafana/grafana",)

# What the official image of PostgreSQL does, as far as the rendered files build on it.
ENTRYPOINT = r"""#!/bin/sh
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    chmod 3775 /var/run/postgresql
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    eval "initdb --username=$POSTGRES_USER --pwfile=/tmp/password $POSTGRES_INITDB_ARGS"
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    # The first start is reached by the socket alone.
    preloaded=$(printf '%s ' "$@" | grep -o -- '--shared_preload_libraries=[^ ]*')
    pg_ctl start --wait --options="--listen_addresses= $preloaded"
    export PGUSER="$POSTGRES_USER" PGPASSWORD="$POSTGRES_PASSWORD"
    createdb "$POSTGRES_DB"
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname="$POSTGRES_DB" --file="$file"
    done
    pg_ctl stop --wait
fi
exec "$@" --listen_addresses='*'
"""

# What each stand-in has beside the root file system. apt-get does nothing: the packages that the
# Dockerfile names are there, since the root file system was made with them.
BASE = """FROM stand-in
RUN ln -s /bin/true /usr/local/bin/apt-get && ln -s /usr/bin/python3 /usr/local/bin/python \\
    && ln -s /usr/bin/busybox /usr/local/bin/wget
"""
STAND_INS = {
    "postgres": """
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data
RUN rm -rf /var/lib/postgresql/* \\
    && mkdir -p /docker-entrypoint-initdb.d "$PGDATA" /var/run/postgresql \\
    && chown -R postgres /var/lib/postgresql /var/run/postgresql
COPY --chmod=755 entrypoint /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
STOPSIGNAL SIGINT
""",
    "python": "ENV UV_OFFLINE=1\n",
    "valkey/valkey": "RUN mkdir /data && chown 999:999 /data\n",
    "caddy": """
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
""",
    "prom/prometheus": """
RUN mkdir -p /prometheus && chown nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
""",
    "prom/alertmanager": """
RUN ln -s /usr/bin/prometheus-alertmanager /usr/local/bin/alertmanager
USER nobody
""",
    "prom/node-exporter": """
USER nobody
ENTRYPOINT ["prometheus-node-exporter"]
""",
    "quay.io/prometheuscommunity/postgres-exporter": """
USER nobody
ENTRYPOINT ["prometheus-postgres-exporter"]
""",
    "oliver006/redis_exporter": """
USER nobody
ENTRYPOINT ["prometheus-redis-exporter"]
""",
}


def named(project: Path) -> list[str]:
    """The images that the files of the project take from a registry."""
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    found = {*re.findall(r"^FROM (\S+:\S+) AS", dockerfile, re.MULTILINE)}
    for path in sorted(project.glob("ops/*/compose.yaml")):
        services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
        images = [one["image"] for one in services.values() if not {"build", "extends"} & set(one)]
        found |= {re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", image) for image in images}
    return sorted(image for image in found if image.rpartition(":")[0] not in WITHOUT)


def packages(project: Path) -> list[str]:
    """What the Dockerfile installs by apt-get."""
    text = (project / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"apt-get install --yes --no-install-recommends ([^&]*)&&", text)
    return sorted({name for line in lines for name in line.split()})


def root_file_system(cache: Path, wanted: list[str]) -> Path:
    """An archive with Debian and these packages; made once for each list of them."""
    names = sorted({*INCLUDED, *wanted, *(f"{name}/{NEXT}" for name in INCLUDED_OF_NEXT)})
    digest = hashlib.sha256(" ".join((SUITE, *names)).encode()).hexdigest()[:12]
    archive = cache / f"{SUITE}-{digest}.tar"
    if not archive.exists():
        part = archive.with_suffix(".part.tar")
        run(
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
            f"--include={','.join(names)}",
            *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"),
            f'--aptopt=APT::Default-Release "{SUITE}"',
            # A suite that is not released is signed for a week at a time.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *(SUITE, str(part), *(f"deb {mirror()} {suite} main" for suite in (SUITE, NEXT))),
            cwd=cache,
        )
        part.rename(archive)
    return archive


def build_stand_ins(project: Path, cache: Path, docker: dict[str, str], scratch: Path) -> None:
    """Make an image for each name that the project's files take from a registry."""
    cache.mkdir(parents=True, exist_ok=True)
    environment = clean_environment(**docker)
    archive = root_file_system(cache, packages(project))
    # The archive of other packages is another image; the engine keeps both.
    base = f"stand-in:{archive.stem}"
    if not run(program(), "images", "-q", base, cwd=cache, env=environment).stdout:
        run(program(), "import", archive, base, cwd=cache, env=environment)
    run(program(), "tag", base, "stand-in", cwd=cache, env=environment)
    for image in named(project):
        context = scratch / image.replace("/", "_").replace(":", "_")
        context.mkdir()
        name = image.rpartition(":")[0]
        if name == "ghcr.io/astral-sh/uv":
            (context / "uv").write_bytes(Path(uv()).read_bytes())
            (context / "uv").chmod(0o755)
            text = "FROM scratch\nCOPY uv /uv\n"
        else:
            (context / "entrypoint").write_text(ENTRYPOINT, encoding="utf-8")
            text = BASE + STAND_INS[name]
        (context / "Dockerfile").write_text(text, encoding="utf-8")
        run(program(), "build", "-q", "-t", image, context, cwd=context, env=environment)


def fill_cache(uv_cache: Path, docker: dict[str, str]) -> None:
    """Put what uv has fetched where the Dockerfile's own cache is, since it is built offline."""
    (uv_cache / "Dockerfile").write_text(
        "FROM stand-in\n"
        "RUN --mount=type=cache,target=/var/cache/uv --mount=type=bind,target=/from"
        " rm -rf /var/cache/uv/* && cp -a /from/. /var/cache/uv/\n",
        encoding="utf-8",
    )
    run(
        *(program(), "build", "-q", "--no-cache", uv_cache),
        cwd=uv_cache,
        env=clean_environment(**docker),
    )


def build_project(project: Path, docker: dict[str, str]) -> None:
    """Build by the project's real Dockerfile each image that its compose files build."""
    environment = clean_environment(**docker)
    config = (tool("docker-compose"), "--profile", "*", "config", "--format", "json")
    services = json.loads(run(*config, cwd=project, env=environment).stdout)["services"]
    built = {one["image"]: one["build"] for one in services.values() if "build" in one}
    for image, build in built.items():
        arguments = [f"--build-arg={name}={value}" for name, value in build.get("args", {}).items()]
        command = (program(), "build", "--network=none", "--target", build["target"], *arguments)
        run(*command, "-q", "-t", image, project, cwd=project, env=environment)
