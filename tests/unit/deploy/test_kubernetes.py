"""deploy/kubernetes, read as files: each is valid, what it names exists, and its times and settings agree."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from holdfast.gateway.settings import GatewaySettings
from holdfast.worker.process.settings import WorkerSettings
from kubernetes_validate import SchemaNotFoundError, validate

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = sorted(path.parent for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
SERVICES: dict[str, type[GatewaySettings | WorkerSettings]] = {"gateway": GatewaySettings, "worker": WorkerSettings}
METRICS = ROOT / "docs/metrics.md"
MARGIN_S = 10

Manifest = dict[str, Any]


def settings_of(file: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (KUBERNETES / file).read_text("utf-8").splitlines())


def collected(folder: Path) -> Iterator[Manifest]:
    """What a kustomization consists of, before it is patched, with a manifest for each generated ConfigMap."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    for name in [*kustomization.get("resources", ()), *kustomization.get("components", ())]:
        path = (folder / name).resolve()
        yield from collected(path) if path.is_dir() else yaml.safe_load_all(path.read_text("utf-8"))
    for generated in kustomization.get("configMapGenerator", ()):
        assert all((folder / file).is_file() for file in [*generated.get("envs", ()), *generated.get("files", ())])
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}}


@pytest.fixture(params=OVERLAYS, ids=lambda path: path.name)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return list(collected(request.param))


@pytest.fixture
def pods() -> dict[str, Manifest]:
    """The pod templates of all workloads, by name."""
    everything = list(collected(KUBERNETES / "overlays/keda"))
    return {one["metadata"]["name"]: one["spec"]["template"] for one in everything if "template" in one.get("spec", {})}


def named(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def test_every_manifest_is_valid_by_the_schemas_of_kubernetes(manifests: list[Manifest]) -> None:
    unknown = set()
    for manifest in manifests:
        try:
            validate(manifest, "1.34", strict=True)
        except SchemaNotFoundError:
            unknown.add(manifest["apiVersion"])
    assert unknown <= {"keda.sh/v1alpha1"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_kustomize_builds_it(overlay: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for manifest in yaml.safe_load_all(done.stdout):
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "holdfast"


def test_what_a_pod_refers_to_exists(manifests: list[Manifest]) -> None:
    maps = named(manifests, "ConfigMap").keys()
    for workload in [*named(manifests, "Deployment").values(), *named(manifests, "StatefulSet").values()]:
        pod = workload["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        for volume in volumes.values():
            assert volume.get("secret", {}).get("secretName") in {
                None,
                "holdfast-redis",
            }  # as docs/kubernetes.md makes it
            assert volume.get("configMap", {}).get("name") in {None, *maps}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys() | claims
            for source in container.get("envFrom", ()):
                assert (
                    source["configMapRef"]["name"] in maps
                    if "configMapRef" in source
                    else source["secretRef"]["optional"]
                )
            ports = {port["name"] for port in container.get("ports", ())}
            probes = [container[name] for name in container if name.endswith("Probe")]
            assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= ports


def test_services_budgets_and_policies_select_pods_that_exist(manifests: list[Manifest]) -> None:
    templates = [
        one["spec"]["template"]["metadata"]["labels"] for one in manifests if "template" in one.get("spec", {})
    ]

    def selects(labels: Manifest) -> bool:
        return any(labels.items() <= template.items() for template in templates)

    for service in named(manifests, "Service").values():
        assert selects(service["spec"]["selector"])
    for budget in named(manifests, "PodDisruptionBudget").values():
        assert selects(budget["spec"]["selector"]["matchLabels"])
    for policy in named(manifests, "NetworkPolicy").values():
        assert selects(policy["spec"]["podSelector"].get("matchLabels", {}))


def test_what_is_scaled_exists_and_has_no_number_of_copies() -> None:
    manifests = list(collected(KUBERNETES / "overlays/keda"))
    scaled = named(manifests, "ScaledObject")
    assert {one["spec"]["scaleTargetRef"]["name"] for one in scaled.values()} == named(manifests, "Deployment").keys()
    [patch] = yaml.safe_load((KUBERNETES / "overlays/keda/kustomization.yaml").read_text("utf-8"))["patches"]
    assert yaml.safe_load(patch["patch"]) == [{"op": "remove", "path": "/spec/replicas"}]
    [trigger] = scaled["worker"]["spec"]["triggers"]
    assert int(trigger["metadata"]["threshold"]) <= int(settings_of("base/worker.env")["HOLDFAST_MAX_JOBS"])


@pytest.mark.parametrize("service", SERVICES)
def test_the_port_of_metrics_is_that_of_the_settings(service: str) -> None:
    pod = named(list(collected(KUBERNETES / "overlays/single")), "Deployment")[service]["spec"]["template"]["spec"]
    [port] = [port for port in pod["containers"][0]["ports"] if port["name"] == "metrics"]
    given = settings_of(f"base/{service}.env")
    assert (given["HOLDFAST_METRICS_HOST"], given["HOLDFAST_METRICS_PORT"]) == ("0.0.0.0", str(port["containerPort"]))


def test_the_metrics_that_workers_are_scaled_by_exist() -> None:
    scaled = named(list(collected(KUBERNETES / "overlays/keda")), "ScaledObject")
    [trigger] = scaled["worker"]["spec"]["triggers"]
    for name in re.findall(r"holdfast_\w+", trigger["metadata"]["query"]):
        assert f"`{name}`" in METRICS.read_text("utf-8")


@pytest.mark.parametrize("service", SERVICES)
def test_settings_are_known_and_valid(service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("x")
    given = settings_of(f"base/{service}.env") | {"HOLDFAST_REDIS_PASSWORD_FILE": str(password)}
    kind = SERVICES[service]
    assert given.keys() <= {f"HOLDFAST_{name}".upper() for name in kind.model_fields}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert kind().redis_url.startswith(f"redis://{service}:x@redis:6379")


def test_pods_are_killed_only_after_the_grace_times(pods: dict[str, Manifest]) -> None:
    grace = {
        "gateway": int(settings_of("base/gateway.env")["HOLDFAST_GATEWAY_GRACE_SECONDS"]),
        "worker": int(settings_of("base/worker.env")["HOLDFAST_GRACE_SECONDS"]),
    }
    for name, seconds in grace.items():
        spec = pods[name]["spec"]
        pause = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert spec["terminationGracePeriodSeconds"] >= pause + seconds + MARGIN_S, name
    assert "preStop" in pods["gateway"]["spec"]["containers"][0]["lifecycle"]


def test_an_outage_of_redis_neither_restarts_gateways_nor_takes_them_out_of_the_service(
    pods: dict[str, Manifest],
) -> None:
    gateway, worker = (pods[name]["spec"]["containers"][0] for name in ("gateway", "worker"))
    assert gateway["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert {gateway[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")} == {"/livez"}
    assert "livenessProbe" not in worker


def test_no_variable_of_a_service_can_look_like_a_setting(pods: dict[str, Manifest]) -> None:
    assert {name: pod["spec"]["enableServiceLinks"] for name, pod in pods.items()} == dict.fromkeys(pods, False)


def test_pods_meet_the_restricted_security_standard(pods: dict[str, Manifest]) -> None:
    labels = named(list(collected(KUBERNETES / "base")), "Namespace")["holdfast"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods.values():
        context = pod["spec"]["securityContext"]
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}


def test_redis_has_the_settings_of_the_compose_file() -> None:
    def settings(path: Path) -> set[str]:
        return {line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")}

    assert settings(KUBERNETES / "redis/redis.conf") == settings(ROOT / "deploy/redis.conf")
