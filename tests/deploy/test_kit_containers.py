"""`deploy/containers`, as far as that goes without a container engine: linted, its parts tried one by one."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import grpc
import pytest

from cloud_server import config as cloud_config
from edge_node import config as edge_config
from tests.cloud_server.pems import trust
from tests.cloud_server.whoami import question, unary, whoami
from tests.deploy.fleet_broker import connect, install
from tests.services import require

ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "deploy/containers"
COMPOSE = CONTAINERS / "compose.yaml"
DOCKERFILES = [CONTAINERS / "edge.Dockerfile", CONTAINERS / "cloud.Dockerfile"]


def run(*command: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.stem)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    linted = run(require("hadolint"), dockerfile)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_an_image_runs_as_nobody_in_particular(dockerfile: Path) -> None:
    before, _, after = dockerfile.read_text().rpartition("\nUSER 10001:10001\n")
    assert "pip install" in before
    assert "RUN" not in after


def test_the_wheel_builds_from_what_the_first_stage_copies(dockerfile: Path, tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling")
    copied = re.findall(r"^COPY (.+) \S+$", dockerfile.read_text(), re.MULTILINE)
    names = " ".join(copied).split()
    let_through = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().split()
    assert {f"!{name}" for name in (*names, "constraints.txt")} <= set(let_through)
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    built = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", ".", folder=tmp_path
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("tidegate-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {"edge_node/cli.py", "cloud_server/cli.py", "protos/inference_pb2.py"} <= packed


def test_the_image_can_do_whatever_its_settings_say() -> None:
    """The extras that sections of ``cloud.toml`` need; without one the server would not start with it."""
    (installed,) = re.findall(r"\.whl\)\[(.+?)\]", (CONTAINERS / "cloud.Dockerfile").read_text())
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sections = {name for name in cloud_config.CloudConfig.__struct_fields__ if name in extras}
    assert sections == {"dashboard", "fleet", "rest"}
    assert sections - {"fleet"} <= set(installed.split(","))
    assert "tidegate[fleet]" in extras["cloud"]


def test_compose_accepts_the_project() -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema")
    checked = run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_compose_mounts_is_there() -> None:
    mounted = re.findall(r"- (\.\.?/\S+?):", COMPOSE.read_text())
    built = re.findall(r"dockerfile: (\S+)", COMPOSE.read_text())
    assert len(mounted) == 13
    assert [
        path for path in mounted if not path.startswith("./secrets/") and not (CONTAINERS / path).exists()
    ] == []
    assert [ROOT / path for path in sorted(built)] == sorted(DOCKERFILES)


def test_the_settings_are_settings_and_name_services_of_the_project() -> None:
    node = edge_config.load(CONTAINERS / "node.toml")
    cloud = cloud_config.load(CONTAINERS / "cloud.toml")
    assert node.mqtt
    assert node.cloud
    assert cloud.fleet
    assert cloud.fleet.mqtt.host == node.mqtt.host
    assert (node.mqtt.host, node.cloud.target) == ("broker", f"cloud:{cloud.server.port}")
    for service, port in ("edge", node.metrics.port), ("cloud", cloud.metrics.port):
        assert any(f'["{service}:{port}"]' in file.read_text() for file in (CONTAINERS / "targets").iterdir())
    for service in ("broker", "cloud", "edge"):
        assert f"\n  {service}:\n" in COMPOSE.read_text()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `secrets.sh` makes."""
    require("openssl")
    folder = tmp_path_factory.mktemp("containers")
    made = run(CONTAINERS / "secrets.sh", folder=folder)
    assert made.returncode == 0, made.stderr
    return folder / "secrets"


def test_the_server_lets_the_node_in(secrets: Path) -> None:
    ca, cert, key = (secrets / name for name in ("ca.crt", "node.crt", "node.key"))
    files = {"cert": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
    with whoami(tls={name: str(secrets / file) for name, file in files.items()}) as it:
        target = f"localhost:{it.grpc_port}"
        with grpc.secure_channel(target, trust(ca, cert, key)) as channel:
            assert unary(channel, question("x")) == "urn:tidegate:lab/node-1"


@pytest.mark.parametrize("host", ["broker", "cloud", "localhost"])
def test_the_certificate_is_good_for(secrets: Path, host: str) -> None:
    """By the strict rules that Python follows since 3.13."""
    strict = ("-x509_strict", "-verify_hostname", host, "-CAfile", secrets / "ca.crt")
    verified = run(require("openssl"), "verify", *strict, secrets / "server.crt")
    assert verified.returncode == 0, verified.stderr


@pytest.mark.parametrize(
    ("user", "file"),
    [
        ("lab/node-1", "mqtt-password"),
        ("fleet", "fleet-password"),
        ("sink", "sink-password"),
        ("watch", "watch-password"),
    ],
)
def test_the_broker_knows_the_passwords(secrets: Path, tmp_path: Path, user: str, file: str) -> None:
    broker = install(tmp_path, ["nobody"])
    shutil.copy(secrets / "passwd", tmp_path)
    with broker.running(), connect(broker, user, (secrets / file).read_text().strip()):
        pass


def test_secrets_are_never_overwritten(secrets: Path) -> None:
    again = run(CONTAINERS / "secrets.sh", folder=secrets.parent)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
