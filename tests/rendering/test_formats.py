"""Every combination: YAML, TOML, JSON, compose and workflow files are what their readers expect."""

import json
import re
import tomllib
from pathlib import Path

import yaml

from tests.combinations import Combination
from tests.projects import clean_environment, run
from tests.rendering.conftest import files
from tests.rendering.test_python import tool

YAMLLINT = """
extends: default
rules:
  comments: {min-spaces-from-content: 1}
  document-start: disable
  line-length: {max: 120, allow-non-breakable-inline-mappings: true}
  truthy: {check-keys: false}
  braces: {max-spaces-inside: 1}
"""

# What `my-project init` writes; compose must refuse to start without each.
SECRETS = {
    "DATABASE_PASSWORD": "s3cret of a test",
    "DATABASE_ADMIN_PASSWORD": "an0ther one",
    "MONITORING_PASSWORD": "a s3cond one",
    "GRAFANA_PASSWORD": "a fifth 0ne",
    "REDIS_PASSWORD": "a th1rd one",
    "REDIS_QUEUE_PASSWORD": "a f0urth one",
}


def named(project: Path, *suffixes: str) -> list[str]:
    return [path for path in files(project) if path.endswith(suffixes)]


# What was looked at already, by its content: combinations share most of these files.
SEEN: set[tuple[str | bytes, ...]] = set()


def is_new(check: str, project: Path, *paths: str) -> bool:
    """Whether `check` sees these files, as they are together, for the first time."""
    key: tuple[str | bytes, ...] = (check, *((project / path).read_bytes() for path in paths))
    new = key not in SEEN
    SEEN.add(key)
    return new


def test_yaml_is_clean(project: Path, tmp_path: Path) -> None:
    settings = tmp_path / "yamllint.yml"
    settings.write_text(YAMLLINT, encoding="utf-8")
    paths = [path for path in named(project, ".yml", ".yaml") if path != ".copier-answers.yml"]
    assert paths
    if new := [path for path in paths if is_new("yamllint", project, path)]:
        run(tool("yamllint"), "--strict", "--config-file", settings, *new, cwd=project)


def test_toml_json_and_the_answers_can_be_read(combination: Combination, project: Path) -> None:
    for path in named(project, ".toml"):
        tomllib.loads((project / path).read_text(encoding="utf-8"))
    for path in named(project, ".json"):
        json.loads((project / path).read_text(encoding="utf-8"))
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    for name, value in combination.answers().items():
        if name in answers:
            assert answers[name] == value, name


# All that there is.
WHOLE = {"COMPOSE_PROFILES": "app,queue,sagas,backup,monitoring,drill"}


def compose(project: Path, **variables: str) -> str:
    done = run(
        *(tool("docker-compose"), "config", "--quiet"),
        cwd=project,
        env=clean_environment(**variables),
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def of_compose(project: Path) -> list[str]:
    """The files of which compose makes its configuration."""
    return [path for path in files(project) if "compose" in path]


def test_compose_is_valid_with_the_secrets(project: Path) -> None:
    if is_new("compose", project, *of_compose(project)):
        assert compose(project, **SECRETS) == ""
        assert compose(project, **SECRETS, **WHOLE) == ""


def test_compose_refuses_to_start_without_a_secret(combination: Combination, project: Path) -> None:
    example = (project / ".env.example").read_text(encoding="utf-8")
    secrets = {name: value for name, value in SECRETS.items() if name in example}
    assert len(secrets) == (6 if "redis" in combination.modules else 4)
    if not is_new(f"refusal without {', '.join(secrets)}", project, *of_compose(project)):
        return
    for missing in secrets:
        given = {name: value for name, value in secrets.items() if name != missing}
        for variables in (given, given | {missing: ""}):
            refusal = compose(project, **variables)
            assert missing in refusal
            assert "uv run my-project init" in refusal


def test_compose_opens_ports_on_loopback_alone(project: Path) -> None:
    """And pins a version of every image, which no answer or tag moves unseen."""
    services: dict[str, dict[str, object]] = {}
    for path in named(project, "compose.yaml"):
        services |= yaml.safe_load((project / path).read_text(encoding="utf-8")).get("services", {})
    assert services
    for name, service in services.items():
        ports = service.get("ports", [])
        assert isinstance(ports, list)
        assert all(str(port).startswith("127.0.0.1:") for port in ports), name
        image = str(service.get("image", ""))
        assert not image or re.search(r":v?\d[^:]*$", image), f"{name} has no version: {image}"
        for limit in ("mem_limit", "pids_limit", "cpus", "cap_drop", "security_opt"):
            assert limit in service or "extends" in service, f"{name} has no {limit}"


def schema(project: Path, name: str, *paths: str) -> None:
    if new := [path for path in paths if is_new(name, project, path)]:
        run(tool("check-jsonschema"), "--builtin-schema", f"vendor.{name}", *new, cwd=project)


def test_compose_and_workflows_follow_their_schemas(
    combination: Combination, project: Path
) -> None:
    schema(project, "compose-spec", *named(project, "compose.yaml"))
    if combination.ci_provider == "github":
        workflows = [path for path in named(project, ".yml") if path.startswith(".github/")]
        schema(project, "github-workflows", *(path for path in workflows if "/workflows/" in path))
        schema(project, "dependabot", ".github/dependabot.yml")
        if is_new("zizmor", project, *workflows):
            run(tool("zizmor"), "--offline", "--no-progress", "--quiet", ".github", cwd=project)
    if combination.ci_provider == "gitlab":
        schema(project, "gitlab-ci", ".gitlab-ci.yml")


def test_ci_refuses_what_a_person_forgets(combination: Combination, project: Path) -> None:
    """Conflict markers, lint, types, migrations, tests on a real engine: with either provider."""
    path = {"github": ".github/workflows/data-layer.yml", "gitlab": ".gitlab-ci.yml"}.get(
        combination.ci_provider
    )
    if path is None:
        assert not [name for name in files(project) if name.startswith(".git") and "/" in name]
        return
    text = (project / path).read_text(encoding="utf-8")
    for demanded in ("<<<<<<<", "ruff check", "ruff format", "mypy", "migrations", "pytest"):
        assert demanded in text, demanded
    assert combination.database_image in text
    assert "TEST_DATABASE_URL" in text
