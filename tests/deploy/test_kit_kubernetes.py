"""`deploy/kubernetes`, as far as that goes without a cluster: built, held against schemas, tried in parts."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from ruamel.yaml import YAML

from cloud_server import config
from cloud_server.config import CloudConfig
from tests.cloud_server.process import finished
from tests.models import cloud_artifact
from tests.services import require

ROOT = Path(__file__).parents[2]
KIT = ROOT / "deploy/kubernetes"
DOCKERFILE = (ROOT / "deploy/containers/cloud.Dockerfile").read_text()
OLDEST = {"base": "1.30", "overlays/lab": "1.30", "overlays/model-image": "1.31"}
"""The first version of Kubernetes that knows every field of each."""

Kit = dict[str, Any]
"""Objects by kind: there is one of each."""


def build(name: str) -> list[Any]:
    built = subprocess.run(
        [require("kubectl"), "kustomize", KIT / name], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return list(YAML(typ="safe").load_all(built.stdout))


@pytest.fixture(scope="module", params=OLDEST)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def kit(name: str) -> Kit:
    objects = build(name)
    by_kind = {it["kind"]: it for it in objects}
    assert len(by_kind) == len(objects)
    return by_kind


def pod(kit: Kit) -> Any:
    return kit["Deployment"]["spec"]["template"]["spec"]


def container(kit: Kit) -> Any:
    (only,) = pod(kit)["containers"]
    return only


def settings(kit: Kit, folder: Path) -> CloudConfig:
    file = folder / "cloud.toml"
    file.write_text(kit["ConfigMap"]["data"]["cloud.toml"])
    return config.load(file)


def test_each_object_is_what_kubernetes_takes(kit: Kit, name: str) -> None:
    validation = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    for version in (OLDEST[name], validation.latest_version()):
        for described in kit.values():
            validation.validate(described, version, strict=True)


@pytest.mark.parametrize("path", ["spec", "spec.template.spec", "spec.template.spec.containers.0"])
def test_a_word_that_kubernetes_does_not_know_would_be_noticed(path: str) -> None:
    validation = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    deployment = next(it for it in build("base") if it["kind"] == "Deployment")
    place: Any = deployment
    for step in path.split("."):
        place = place[int(step) if step.isdigit() else step]
    place["replica"] = 1
    with pytest.raises(validation.ValidationError):
        validation.validate(deployment, OLDEST["base"], strict=True)


def test_the_settings_start_a_server(kit: Kit, tmp_path: Path) -> None:
    """With everything that they name where the pod mounts it, moved below a folder of this test."""
    cloud_artifact(tmp_path / "models/cloud/1")
    authority, tls = trustme.CA(), tmp_path / "etc/tidegate/tls"
    tls.mkdir(parents=True)
    own = authority.issue_cert("tidegate-cloud")
    own.private_key_pem.write_to_path(str(tls / "tls.key"))
    own.cert_chain_pems[0].write_to_path(str(tls / "tls.crt"))
    authority.cert_pem.write_to_path(str(tls / "ca.crt"))
    mounts = [it["mountPath"] for it in container(kit)["volumeMounts"]]
    text = kit["ConfigMap"]["data"]["cloud.toml"]
    for path in re.findall(r'"(/.+?)"', text):
        assert any(path.startswith(mount) for mount in mounts), path
    file = tmp_path / "cloud.toml"
    file.write_text(re.sub(r'"(/.+?)"', rf'"{tmp_path}\1"', text))
    free = {f"TIDEGATE_{section}__PORT": "0" for section in ("SERVER", "HEALTH", "METRICS")}
    told = {it["name"]: "1" for it in container(kit)["env"]}
    checked = finished(["check", "--config", file], **free, **told)
    assert checked.returncode == 0, checked.stderr
    assert "would serve cloud 1" in checked.stdout
    assert "server.threads = 1" in checked.stdout


def test_only_the_lab_speaks_plaintext(kit: Kit, name: str, tmp_path: Path) -> None:
    given = settings(kit, tmp_path)
    assert bool(given.tls and given.tls.client_ca) == (name != "overlays/lab")
    assert given.server.insecure == (name == "overlays/lab")


def test_ports_and_probes_are_those_of_the_settings(kit: Kit, tmp_path: Path) -> None:
    given = settings(kit, tmp_path)
    assert given.health
    ports = {it["name"]: it["containerPort"] for it in container(kit)["ports"]}
    assert ports == {
        "grpc": given.server.port,
        "health": given.health.port,
        "metrics": given.metrics.port,
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container(kit)[probe]["grpc"] == {"port": given.health.port}
    (offered,) = kit["Service"]["spec"]["ports"]
    assert (offered["port"], offered["targetPort"]) == (given.server.port, "grpc")
    if policy := kit.get("NetworkPolicy"):
        named = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
        assert named == ["grpc", "metrics"]


def test_whoever_selects_pods_selects_ours(kit: Kit) -> None:
    labels = kit["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selecting: dict[str, Callable[[Any], Any]] = {
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
    }
    assert labels
    for kind, selector in selecting.items():
        if kind in kit:
            assert selector(kit[kind]["spec"]) == labels
    (spread,) = pod(kit)["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels


def test_the_number_of_replicas_has_one_author(kit: Kit) -> None:
    scaler = kit.get("HorizontalPodAutoscaler")
    assert ("replicas" in kit["Deployment"]["spec"]) == (scaler is None)
    if scaler:
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", kit["Deployment"]["metadata"]["name"])
        assert "cpu" in container(kit)["resources"]["requests"]


def test_what_is_under_way_can_end(kit: Kit, tmp_path: Path) -> None:
    """Before SIGTERM a pause, after it the server's own grace: SIGKILL comes later than both."""
    pause = container(kit)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(kit)["terminationGracePeriodSeconds"] >= pause + settings(kit, tmp_path).server.grace + 5


def test_a_model_can_be_tried_out_in_the_memory_there_is(kit: Kit, tmp_path: Path) -> None:
    limit = container(kit)["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Gi")) * 1024 > settings(kit, tmp_path).loading.memory + 512


def test_the_pod_is_restricted(kit: Kit) -> None:
    """As the Pod Security Standard of this name asks, and no file of its own to write."""
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user
    whole, own = pod(kit)["securityContext"], container(kit)["securityContext"]
    assert (str(whole["runAsUser"]), str(whole["runAsGroup"])) == user.groups()
    assert whole["runAsNonRoot"]
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in container(kit)["volumeMounts"])
    assert not pod(kit)["automountServiceAccountToken"]


def test_the_settings_lie_where_the_image_looks(kit: Kit) -> None:
    mounted = {it["name"]: it for it in container(kit)["volumeMounts"]}
    assert f'"{mounted["settings"]["mountPath"]}"]' in DOCKERFILE
    (volume,) = (it for it in pod(kit)["volumes"] if it["name"] == "settings")
    assert volume["configMap"]["name"] == kit["ConfigMap"]["metadata"]["name"]


def test_models_come_from_a_claim_or_an_image(kit: Kit, name: str) -> None:
    (volume,) = (it for it in pod(kit)["volumes"] if it["name"] == "models")
    assert set(volume) == {"name", "image" if name == "overlays/model-image" else "persistentVolumeClaim"}
