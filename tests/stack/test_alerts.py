"""Each alert fires once its cause is made on the living stack, and ends with its cause.

The rules wait for minutes and hours. So a second Prometheus asks the same targets, and judges by
the same rules in a time in which a minute is a second. Nothing else about them is changed but the
number of transaction ids, of which no test uses up a billion.
"""

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
import pytest
import yaml

from tests.projects import PACKAGE, run
from tests.stack.conftest import Client, Prometheus, Stack, backed_up, until

pytestmark = pytest.mark.xdist_group("stack")

# Stopped beforehand: whether they are missed depends on how old that is which they leave undone.
STANDING_STILL = ("backup", "worker", "saga-worker", "outbox-relay")
# So these are true until the last test.
STOPPED = {f"TargetDown {service}" for service in STANDING_STILL[1:]}
# True where this module comes first: the restore drill is for another one.
NOT_DRILLED = "CheckFails DL-BK-08"
# True while the other causes are made, since the checks are asked only when one of them tells.
NOBODY_ASKS = "ChecksStandStill node-exporter"


@dataclass(frozen=True)
class Scene:
    """What a cause is made on.

    Attributes:
        prometheus: the hurried one.
        disk: a small one that node-exporter watches.
        name: of the errands that are not done.
    """

    stack: Stack
    client: Client
    prometheus: Prometheus
    disk: Path
    name: str

    def all_that_fire(self) -> set[str]:
        """The alerts, as `named` names them."""
        alerts = self.prometheus.ask("alerts")["alerts"]
        return {named(one["labels"]) for one in alerts if one["state"] == "firing"}

    def firing(self) -> set[str]:
        """Those that do not tell of this module."""
        return self.all_that_fire() - {NOT_DRILLED} - STOPPED

    def ask_the_checks(self) -> None:
        """Let `checks` take one turn, and wait until its verdicts are scraped."""
        began = int(time.time())
        self.stack.start("checks")

        def told() -> bool:
            query = {"query": "data_layer_check_timestamp_seconds"}
            found = self.prometheus.ask("query", **query)["result"]
            return any(float(one["value"][1]) >= began for one in found)

        until(told, "The checks say nothing.")
        self.stack.compose("stop", "--timeout", "0", "checks")

    def connect(self, role: str = "postgres", database: str = PACKAGE) -> psycopg.Connection:
        """A connection in which each statement is a transaction, unless one is begun."""
        passwords = {"postgres": "DATABASE_ADMIN_PASSWORD", PACKAGE: "DATABASE_PASSWORD"}
        return psycopg.connect(
            host="127.0.0.1",
            port=self.stack.ports["DATABASE_PORT"],
            user=role,
            password=self.stack.setting(passwords[role]),
            dbname=database,
            autocommit=True,
        )


def named(labels: dict[str, str]) -> str:
    """An alert by its rule, and by what it is about."""
    about = labels.get("check") or labels.get("service")
    about = about or Path(labels.get("mountpoint", "")).name
    if not about and "mountpoint" not in labels:
        about = labels.get("instance", "").partition(":")[0]
    return f"{labels['alertname']} {about}".strip()


Make = Callable[[Scene], AbstractContextManager[None]]
FIRED: dict[Make, set[str]] = {}


def fires(*alerts: str) -> Callable[[Callable[[Scene], Iterator[None]]], Make]:
    """Declare a cause, made up to its `yield` and ended after it, and the alerts that it fires."""

    def declare(function: Callable[[Scene], Iterator[None]]) -> Make:
        @contextmanager
        def make(scene: Scene) -> Iterator[None]:
            steps = function(scene)
            next(steps)
            try:
                yield
            finally:
                # Whatever became of the test: the next one wants the stack as it was.
                next(steps, None)

        FIRED[make] = set(alerts)
        return make

    return declare


@fires("ConnectionsRunOut")
def connections_are_taken(scene: Scene) -> Iterator[None]:
    taken = "SELECT count(*) > 88 FROM pg_stat_activity WHERE datname IS NOT NULL"
    with scene.connect() as asking, ExitStack() as connections:
        while asking.execute(taken).fetchone() != (True,):
            connections.enter_context(scene.connect(PACKAGE))
        yield


@fires("TransactionIdsRunOut")
def nobody_vacuums(scene: Scene) -> Iterator[None]:
    with scene.connect() as connection:
        used = "PERFORM pg_current_xact_id(); COMMIT;"
        connection.execute(f"DO $$ BEGIN FOR i IN 1..110000 LOOP {used} END LOOP; END $$")
    yield
    for database in (PACKAGE, "postgres", "template1"):
        with scene.connect(database=database) as connection:
            connection.execute("VACUUM (FREEZE)")


@fires("QueueFills redis-queue-exporter")
def the_queue_is_full(scene: Scene) -> Iterator[None]:
    def valkey(*command: str) -> None:
        password = f"REDISCLI_AUTH={scene.stack.setting('REDIS_QUEUE_PASSWORD')}"
        cli = ("valkey-cli", "-e", "-s", "/run/socket/redis.sock", "--user", PACKAGE)
        scene.stack.compose("exec", "-T", "--env", password, "redis-queue", *cli, *command)

    valkey("SETRANGE", "my-project:ballast", "230000000", "x")
    yield
    valkey("DEL", "my-project:ballast")


@fires("DiskFills disk")
def a_disk_is_full(scene: Scene) -> Iterator[None]:
    ballast = scene.disk / "ballast"
    ballast.write_bytes(bytes(int(shutil.disk_usage(scene.disk).free * 0.95)))
    yield
    ballast.unlink()


@fires(
    *("LongTransaction postgres-exporter", "AnswersAreSlow", "AnswersFail"),
    *("PoolRunsOut api-a", "PoolRunsOut api-b"),
)
def a_transaction_keeps_a_table_that_requests_want(scene: Scene) -> Iterator[None]:
    stop = threading.Event()

    def ask(number: int) -> None:
        # One after the other, so that in each second some give up.
        stop.wait(number / 5)
        while not stop.is_set():
            try:
                scene.client.ask("GET", "/errands/any")
            except (OSError, HTTPException):
                stop.wait(0.2)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(25)]
    with scene.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE errand_notes")
        for one in clients:
            one.start()
        yield
    stop.set()
    for one in clients:
        one.join()


@fires("TargetDown api-b", "DatabaseDown postgres-exporter", "RedisDown redis-exporter")
def servers_are_down(scene: Scene) -> Iterator[None]:
    stopped = ("api-b", "postgres", "redis")
    scene.stack.compose("stop", *stopped)
    yield
    scene.stack.start(*stopped)


@fires("ChecksStandStill")
def the_verdicts_are_lost(scene: Scene) -> Iterator[None]:
    verdicts = scene.stack.volume("checks") / "checks.prom"
    kept = verdicts.read_bytes()
    verdicts.unlink()
    yield
    verdicts.write_bytes(kept)


@fires("ArchiveFails postgres-exporter", "CheckFails DL-BK-04")
def the_repository_takes_no_wal(scene: Scene) -> Iterator[None]:
    [folder] = (scene.stack.volume("backups") / "archive/my-project").glob("17-1/*")
    folder.chmod(0o500)
    stop = threading.Event()
    switch = "SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()"

    def work() -> None:
        with scene.connect() as connection:
            while not stop.wait(3):
                connection.execute(switch)

    working = threading.Thread(target=work)
    with scene.connect() as connection:
        # As on the first day, when nothing was ever archived.
        connection.execute("SELECT pg_stat_reset_shared('archiver')")
    working.start()
    yield
    stop.set()
    working.join()
    folder.chmod(0o750)
    archived = "SELECT last_archived_time > last_failed_time FROM pg_stat_archiver"
    with scene.connect() as connection:
        # A server that had nothing to recover knows no archive_timeout until then.
        connection.execute("CHECKPOINT")
        # The archiver sleeps for a minute where nothing wakes it.
        connection.execute(switch)
        until(lambda: connection.execute(archived).fetchone() == (True,), "Nothing is archived.")


@fires("CheckFails DL-BK-02", "CheckFails DL-BK-03")
def the_last_backup_is_of_yesterday(scene: Scene) -> Iterator[None]:
    info = scene.stack.volume("backups") / "backup/my-project/backup.info"
    kept = info.read_text(encoding="utf-8")
    info.write_text(aged(kept, 27 * 3600), encoding="utf-8")
    yield
    info.write_text(kept, encoding="utf-8")


def aged(info: str, seconds: int) -> str:
    """What pgBackRest would have written so much earlier, with the checksum that it wants."""

    def earlier(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) - seconds}"

    text = re.sub(r'("backup-timestamp-\w+":)(\d+)', earlier, info)
    sections = []
    for name, lines in re.findall(r"^\[(.+)\]\n((?:.+\n)+)", text, re.MULTILINE):
        pairs = (line.partition("=") for line in lines.splitlines())
        if kept := [f'"{key}":{value}' for key, _, value in pairs if key != "backrest-checksum"]:
            sections.append(f'"{name}":{{{",".join(kept)}}}')
    checksum = hashlib.sha1(f"{{{','.join(sections)}}}".encode()).hexdigest()
    return re.sub(r'(?<=checksum=")\w+', checksum, text)


@fires("DeadLetters DL-RD-21", "SagaParked DL-SA-01")
def a_job_and_a_saga_fail_for_good(scene: Scene) -> Iterator[None]:
    # They were begun when a worker was there to try them.
    yield
    assert scene.client.ask("POST", "/errands", {"name": f"{scene.name} is mended"})[0] == 202
    for what in (("queue", "dead-letters"), ("sagas",)):
        program = ("exec", "-T", "api-a", "my-project", *what, "retry", "--all")
        scene.stack.compose(*program)
    scene.stack.start(*STANDING_STILL)


@fires("CheckFails DL-RD-20", "CheckFails DL-SA-02", "CheckFails DL-SA-04")
def the_programs_without_a_port_are_down(scene: Scene) -> Iterator[None]:
    # They are since the beginning of this module.
    late = "SELECT min(created_at) < now() - interval '61 s' FROM outbox_messages"
    with scene.connect() as connection:
        until(lambda: connection.execute(late).fetchone() == (True,), "No message waits.")
    yield
    done = b'["job","message","request","saga"]'
    until(
        lambda: scene.client.ask("GET", f"/errands/{scene.name}")[1] == done,
        "What waited is not done.",
    )


# Causes are made at a time where no alert can be taken for that of another one.
TOGETHER = (
    (connections_are_taken, nobody_vacuums, the_queue_is_full, a_disk_is_full),
    (a_transaction_keeps_a_table_that_requests_want, the_verdicts_are_lost),
    (servers_are_down,),
)
# The checks see these, so they are asked while the cause lasts and once it has ended.
SEEN_BY_CHECKS = (
    the_programs_without_a_port_are_down,
    a_job_and_a_saga_fail_for_good,
    the_last_backup_is_of_yesterday,
    the_repository_takes_no_wal,
)


def hurry(rules: str) -> str:
    """The rules, with a second for each of their minutes."""
    # A heart beats every five seconds, whatever a minute is.
    rules = rules.replace("heartbeat_timestamp_seconds > 60", "heartbeat_timestamp_seconds > 600")

    def second(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) // 60}"

    text = re.sub(r"\b(\d+)m\b", r"\1s", rules)
    text = re.sub(r"((?:_age|timestamp_seconds) (?:>|<=) )(\d+)\b", second, text)
    return text.replace("> 1e9", "> 1e5")


@contextmanager
def hurried(stack: Stack, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus in whose rules a minute is a second."""
    monitoring = stack.project / "ops" / "monitoring"
    rules = (monitoring / "rules.yml").read_text(encoding="utf-8")
    (folder / "rules.yml").write_text(hurry(rules), encoding="utf-8")
    settings = yaml.safe_load((monitoring / "prometheus.yml").read_text(encoding="utf-8"))
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    # Its exporter tries for more than a second to reach a server that is down.
    [slow] = (one for one in settings["scrape_configs"] if one["job_name"] == "postgres")
    slow |= {"scrape_interval": "3s", "scrape_timeout": "3s"}
    [workers] = (one for one in settings["scrape_configs"] if one["job_name"] == "workers")
    workers["dns_sd_configs"][0]["refresh_interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    folder.chmod(0o755)
    name = f"hurried-{folder.name}"
    try:
        stack.compose(
            *("run", "--detach", "--no-deps", "--name", name, "--publish", "127.0.0.1::9090"),
            *("--volume", f"{folder}:/etc/hurried:ro", "prometheus"),
            *("--config.file=/etc/hurried/prometheus.yml", "--storage.tsdb.path=/tmp/prometheus"),
        )
        port = stack.docker("port", name, "9090").rpartition(":")[2]
        prometheus = Prometheus(port)

        def all_are_up() -> bool:
            try:
                targets = prometheus.ask("targets")["activeTargets"]
            except OSError:
                return False
            return {one["health"] for one in targets} == {"up"}

        until(all_are_up, "A target is down.")
        yield prometheus
    finally:
        stack.docker("rm", "--force", name)


@contextmanager
def small_disk(stack: Stack) -> Iterator[Path]:
    """A disk of some megabytes that node-exporter watches."""
    with TemporaryDirectory(prefix="stack-") as name:
        folder = Path(name)
        # node-exporter runs as nobody.
        folder.chmod(0o755)
        image, disk = folder / "image", folder / "disk"
        with image.open("wb") as file:
            os.truncate(file.fileno(), 2**26)
        disk.mkdir()
        run("mkfs.ext4", "-q", "-m", "0", image, cwd=folder)
        run("mount", "-o", "loop", image, disk, cwd=folder)
        try:
            # It sees what was mounted before it began, and holds on to it.
            stack.compose("restart", "node-exporter")
            yield disk
        finally:
            run("umount", disk, cwd=folder)
            stack.compose("restart", "node-exporter")


@pytest.fixture(scope="module")
def scene(
    stack: Stack, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """The stack without what a check would miss only after some time."""
    folder = tmp_path_factory.mktemp("rules")
    until(lambda: backed_up(stack), "The schedule made no backup.")
    # Its own turn, each five minutes, could meet a cause whose alert nobody expects.
    stack.compose("stop", "--timeout", "0", "checks")
    try:
        with small_disk(stack) as disk, hurried(stack, folder) as prometheus:
            found = Scene(stack, client, prometheus, disk, uuid4().hex)
            found.ask_the_checks()
            assert client.ask("POST", "/errands/fragile", {"name": found.name})[0] == 202

            def failed() -> bool:
                parked = "SELECT status FROM sagas WHERE key = %s"
                with found.connect() as connection:
                    saga = connection.execute(parked, [found.name]).fetchone()
                tried = f"Nobody has mended {found.name}."
                return saga == ("parked",) and tried in stack.compose("logs", "worker").stdout

            until(failed, "The fragile ones did not fail.")
            stack.compose("stop", "--timeout", "0", "backup")
            stack.compose("stop", *STANDING_STILL)
            assert client.ask("POST", "/errands", {"name": found.name})[0] == 202
            until(lambda: found.all_that_fire() >= STOPPED, "Nobody misses a worker.")
            yield found
    finally:
        stack.start("checks", *STANDING_STILL)


def exactly(scene: Scene, expected: set[str], but: set[str]) -> None:
    """Wait until these alerts fire and no other ones."""
    try:
        until(lambda: scene.firing() - but == expected, "")
    except AssertionError:
        assert scene.firing() - but == expected


def fire(scene: Scene, causes: tuple[Make, ...], *, asking: bool = False) -> None:
    """Make causes and end them, and see their alerts come and go."""
    # What the last question found stays until the next one.
    but = set() if asking else {NOBODY_ASKS}
    exactly(scene, set(), {NOBODY_ASKS})
    with ExitStack() as made:
        for make in causes:
            made.enter_context(make(scene))
        if asking:
            scene.ask_the_checks()
        exactly(scene, set().union(*(FIRED[make] for make in causes)), but)
    if asking:
        scene.ask_the_checks()
    exactly(scene, set(), but)


@fires("WorkerHangs worker")
def a_job_holds_the_event_loop(scene: Scene) -> Iterator[None]:
    assert scene.client.ask("POST", "/errands/hanging")[0] == 202
    yield


def test_every_rule_has_a_cause_that_is_made_for_it(stack: Stack) -> None:
    rules = (stack.project / "ops/monitoring/rules.yml").read_text(encoding="utf-8")
    assert {alert.partition(" ")[0] for alerts in FIRED.values() for alert in alerts} == {
        rule["alert"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]
    }
    made = (*TOGETHER, SEEN_BY_CHECKS, (a_job_holds_the_event_loop,))
    assert set(FIRED) == {make for causes in made for make in causes}


@pytest.mark.parametrize("causes", TOGETHER, ids=["what_runs_out", "what_waits", "what_is_down"])
def test_alerts_fire_for_their_causes_alone_and_end_with_them_where_a_minute_is_a_second(
    scene: Scene, causes: tuple[Make, ...]
) -> None:
    fire(scene, causes)


def test_checks_that_nobody_asks_are_missed_where_a_minute_is_a_second(scene: Scene) -> None:
    exactly(scene, {NOBODY_ASKS}, set())


def test_what_the_checks_see_fires_alone_and_ends_with_its_cause_where_a_minute_is_a_second(
    scene: Scene,
) -> None:
    fire(scene, SEEN_BY_CHECKS, asking=True)


def test_a_worker_whose_event_loop_stands_still_is_missed_where_a_minute_is_a_second(
    scene: Scene,
) -> None:
    """Behind the others, which have let the workers work again."""
    until(
        lambda: scene.client.ask("GET", "/errands/alert%20TargetDown")[1] == b'["Alertmanager"]',
        "ALERT_WEBHOOK_URL was told of no stopped worker.",
    )
    until(lambda: not STOPPED & scene.all_that_fire(), "A worker is not found again.")
    fire(scene, (a_job_holds_the_event_loop,))
