"""What deploy/ ships: the chart renders to manifests that Kubernetes takes, and every metric named exists."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.core.config import Settings
from app.core.observability.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "soloist"
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "soloist.json").read_text())
# The oldest that Chart.yaml allows and the newest that the schemas know.
KUBERNETES = ("1.27", kubernetes_validate.latest_version())
# Resources of the Prometheus operator, which Kubernetes itself has no schema for.
FOREIGN = {"ServiceMonitor"}

VARIANTS = {
    "default": {},
    "trying it out": {
        "secrets": {"OPENAI_API_KEY": "k"},
        "autoscaling": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "redis": {"enabled": False},
    },
    "everything": {
        "existingSecret": "soloist-secrets",
        "ingress": {"enabled": True, "host": "api.example.com", "tlsSecret": "tls"},
        "prices": {"gpt-6-luna": {"input_per_million": 1, "output_per_million": 4}},
        "ui": {"title": "Ann"},
        "serviceMonitor": {"enabled": True},
        "redis": {"enabled": False, "url": "redis://redis.internal:6379/0"},
        "store": {"existingSecret": "soloist-store"},
        "networkPolicy": {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "only", "operator": "Exists"}],
    },
}


def rendered(values, name="demo"):
    """Manifests by (kind, name)."""
    import helm_python

    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name=name, namespace="prod")
    documents = [
        document
        for path, text in files.items()
        if not path.endswith(".txt")
        for document in yaml.safe_load_all(text)
        if document
    ]
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(found) == len(documents)
    return found


@pytest.mark.needs_helm
@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_rendered_manifests_are_valid(variant, version):
    for (kind, _), manifest in rendered(VARIANTS[variant]).items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.needs_helm
def test_the_chart_has_no_lint():
    import helm_python

    assert helm_python.lint(str(CHART))["errors"] == []


@pytest.mark.needs_helm
@pytest.mark.parametrize("wrong", [{"replica": 2}, {"settings": {"port": "1"}}, {"ingress": {"hosts": []}}])
def test_values_that_mean_nothing_are_refused(wrong):
    import helm_python

    with helm_python.Chart.load(str(CHART)) as chart, pytest.raises(helm_python.HelmError):
        chart.validate_schema(wrong)


@pytest.mark.needs_helm
def test_pods_run_as_nobody_with_a_read_only_root():
    for (kind, _), manifest in rendered({}).items():
        if kind != "Deployment":
            continue
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.needs_helm
def test_selectors_meet_their_pods_and_no_others():
    found = rendered({})
    labels = {
        name: manifest["spec"]["template"]["metadata"]["labels"]
        for (kind, name), manifest in found.items()
        if kind == "Deployment"
    }
    for (kind, name), manifest in found.items():
        spec = manifest.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        if kind in {"Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment"}:
            wanted = selector.get("matchLabels", selector).items()
            assert [pod for pod in labels if wanted <= labels[pod].items()] == [name]


@pytest.mark.needs_helm
def test_the_ingress_passes_the_pages_on():
    found = rendered({"ingress": {"enabled": True, "host": "api.example.com"}})
    (rule,) = found["Ingress", "demo-soloist"]["spec"]["rules"]
    paths = {entry["path"] for entry in rule["http"]["paths"]}
    assert {"/api", "/playground", "/embed", "/embed.js", "/assets"} <= paths


@pytest.mark.needs_helm
@pytest.mark.parametrize("name", ["prices", "ui"])
def test_files_of_the_values_reach_the_service(name):
    found = rendered({name: {"a": 1}})
    files = found["ConfigMap", "demo-soloist-files"]["data"]
    assert files == {f"{name}.json": '{"a":1}'}
    settings = found["ConfigMap", "demo-soloist"]["data"]
    assert settings[f"{name.upper()}_FILE"] == f"/etc/soloist/{name}.json"
    pod = found["Deployment", "demo-soloist"]["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if "configMap" in each]
    assert volume["configMap"]["name"] == "demo-soloist-files"
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounts[volume["name"]] == "/etc/soloist"


@pytest.mark.needs_helm
def test_probes_ask_routes_that_exist():
    from main import create_app

    deployment = rendered({})["Deployment", "demo-soloist"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]
    probed = {
        container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert probed == {"/api/v1/health", "/api/v1/ready"}
    assert probed <= set(paths)


@pytest.mark.needs_helm
def test_the_chart_leaves_time_to_drain():
    found = rendered({})
    pod = found["Deployment", "demo-soloist"]["spec"]["template"]["spec"]
    grace = int(found["ConfigMap", "demo-soloist"]["data"]["SHUTDOWN_GRACE_SECONDS"])
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert pod["terminationGracePeriodSeconds"] >= grace + values["preStopSeconds"] + 10


@pytest.mark.needs_helm
def test_the_autoscaler_follows_open_streams():
    metrics = rendered({})["HorizontalPodAutoscaler", "demo-soloist"]["spec"]["metrics"]
    assert [m["pods"]["metric"]["name"] for m in metrics if m["type"] == "Pods"] == ["soloist_open_streams"]


@pytest.mark.needs_helm
def test_a_number_of_replicas_can_be_fixed():
    found = rendered({"autoscaling": {"enabled": False}, "replicas": 4})
    assert found["Deployment", "demo-soloist"]["spec"]["replicas"] == 4
    assert not [kind for kind, _ in found if kind == "HorizontalPodAutoscaler"]


@pytest.mark.needs_helm
def test_secrets_stay_out_of_the_config_map():
    found = rendered(VARIANTS["trying it out"])
    assert "OPENAI_API_KEY" not in found["ConfigMap", "demo-soloist"]["data"]
    assert found["Secret", "demo-soloist"]["stringData"] == {"OPENAI_API_KEY": "k"}
    assert ("Secret", "demo-soloist") not in rendered(VARIANTS["everything"])


@pytest.mark.needs_helm
def test_the_store_comes_from_its_secret():
    deployment = rendered(VARIANTS["everything"])["Deployment", "demo-soloist"]
    (entry,) = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert entry["valueFrom"]["secretKeyRef"] == {"name": "soloist-store", "key": entry["name"]}
    assert entry["name"] == "STORE_URL"
    egress = rendered(VARIANTS["everything"])["NetworkPolicy", "demo-soloist"]["spec"]["egress"]
    assert {"ports": [{"port": 5432}]} in egress
    assert (
        "env" not in rendered({})["Deployment", "demo-soloist"]["spec"]["template"]["spec"]["containers"][0]
    )


def test_compose_has_a_database_under_a_profile():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["postgres"]["profiles"] == ["postgres"]
    assert services["soloist"]["depends_on"]["postgres"]["required"] is False


def settings_named_in_deploy():
    unit = (DEPLOY / "systemd" / "soloist@.service").read_text()
    named = set(re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)[0].split())
    values = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["soloist"]["environment"]
    return {entry.split("=")[0] for entry in named} | set(values) | set(compose)


def test_every_setting_named_exists():
    foreign = {"PYTHONDONTWRITEBYTECODE"}
    assert settings_named_in_deploy() - foreign <= {name.upper() for name in Settings.model_fields}


def all_samples():
    """Names and labels of every sample that a process which has seen everything tells."""
    return asyncio.run(_all_samples())


async def _all_samples():
    metrics = Metrics()
    streams = SimpleNamespace(is_draining=False, ended={"finished": 1}, open_streams=0, max_streams=1)
    health: Any = SimpleNamespace(is_reachable=True, shutdown_timestamp=1.0)
    metrics.watch(streams, health)
    metrics.describe(upstream="embedded", model="m")
    metrics.request_ended("GET", "/", 429, 0.1, "rate_limit_exceeded")
    metrics.run_ended("completed")
    metrics.tokens_used("m", input_tokens=1, cached_tokens=0, output_tokens=1, cost=1)
    metrics.event_ended("sent")
    metrics.upstream_answered("GET /x", 0.1)
    metrics.upstream_failed("GET /x", "upstream_failed")
    return {
        sample.name: set(sample.labels) for family in metrics.registry.collect() for sample in family.samples
    }


def expressions():
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_every_metric_and_label_named_exists(title, expression):
    known = all_samples()
    names = re.findall(r"\b(?:soloist|process)_\w+", expression)
    assert names or expression == 'up{job="soloist"} == 0'
    for name in names:
        assert name in known
    labels = {label for name in names for label in known[name]} | {"job", "instance"}
    used = re.findall(r"(\w+)(?:=~?|!=)\"", expression)
    used += [label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")]
    assert set(used) <= labels


def test_every_metric_is_looked_at():
    text = json.dumps([expression for _, expression in expressions()])
    stems = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in all_samples()}
    watched = {stem for stem in stems if stem.startswith("soloist_")}
    assert [stem for stem in sorted(watched) if stem not in text] == []


def test_every_alert_has_its_page_in_the_runbook():
    runbook = (ROOT / "docs" / "operations.md").read_text()
    alerts = [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]
    assert len(alerts) == len(set(alerts))
    assert [alert for alert in alerts if f"| `{alert}` |" not in runbook] == []


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells


def test_error_codes_in_alerts_are_those_that_the_service_counts():
    codes = set(re.findall(r'code="(\w+)"', json.dumps(ALERTS).replace('\\"', '"')))
    app = ROOT / "app"
    source = (app / "core/upstream/errors.py").read_text() + (app / "translate/failures.py").read_text()
    assert codes
    assert [code for code in codes if f'"{code}"' not in source] == []


@pytest.mark.needs_systemd
def test_systemd_takes_the_unit(tmp_path):
    text = (DEPLOY / "systemd" / "soloist@.service").read_text()
    unit = tmp_path / "soloist@8011.service"
    unit.write_text(text.replace("/opt/soloist/.venv/bin/python", shutil.which("true") or ""))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_leaves_time_to_drain():
    unit = (DEPLOY / "systemd" / "soloist@.service").read_text()
    stop = int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0])
    assert stop >= Settings.model_fields["shutdown_grace_seconds"].default + 5
