"""`deploy/systemd`: checked by systemd's own tools, and run under what the units forbid."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from deploy.demo.processes import HOST, wait_until
from protos import artifact
from tests.cloud_server.fleet.rows import ids
from tests.deploy.fleet_broker import PASSWORD, WAIT, Broker, connect, install
from tests.deploy.supervisor import Supervisor
from tests.deploy.unit import INSTALLED, SANDBOX, UNITS, Unit
from tests.models import cloud_artifact, edge_artifact, samples
from tests.services import require

EDGE, CLOUD = "edge-node.service", "cloud-server.service"
EXPOSURE = 13
"""Highest exposure that is accepted, in tenths; a plain unit has 96."""

sandboxed = pytest.mark.skipif(
    sys.platform != "linux" or tuple(map(int, platform.release().split(".")[:2])) < (6, 3),
    reason="needs Linux 6.3 for what MemoryDenyWriteExecute does",
)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [require("systemd-analyze"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(params=[EDGE, CLOUD])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Unit:
    return Unit(request.param, tmp_path)


def test_systemd_understands_every_line(unit: Unit, tmp_path: Path) -> None:
    program = Path(unit.command()[0])
    (tmp_path / program.name).symlink_to("/bin/true")
    installed = tmp_path / unit.name
    installed.write_text((UNITS / unit.name).read_text().replace(INSTALLED, str(tmp_path)))
    verified = analyze("verify", installed)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_little_is_exposed(unit: Unit) -> None:
    rated = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", UNITS / unit.name)
    assert rated.returncode == 0, rated.stdout


@pytest.mark.parametrize("weakening", ["CapabilityBoundingSet=", "SystemCallFilter=@system-service"])
def test_a_weaker_unit_would_be_noticed(tmp_path: Path, weakening: str) -> None:
    weaker = tmp_path / EDGE
    weaker.write_text((UNITS / EDGE).read_text().replace(f"{weakening}\n", ""))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", weaker).returncode == 1


def test_wrong_settings_end_with_the_code_that_stops_restarts(unit: Unit) -> None:
    ended = subprocess.run(
        unit.command(), env={**os.environ, **unit.environment()}, capture_output=True, check=False
    )
    assert [str(ended.returncode)] == unit.values("RestartPreventExitStatus")


FORBIDDEN = {
    "a system call": "import os; os.chown('.', 0, 0)",
    "writable code": "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
}


@sandboxed
@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_sandbox_of_these_tests_forbids(unit: Unit, what: str) -> None:
    calls = unit.folder / "calls"
    calls.write_text("\n".join(unit.allowed_calls()))
    command: list[str | Path] = [sys.executable, SANDBOX, calls, sys.executable, "-c", FORBIDDEN[what]]
    ended = subprocess.run(command, cwd=unit.folder, capture_output=True, text=True, check=False)
    assert "PermissionError" in ended.stderr


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = install(tmp_path, ["fleet", "sink", "watch", "lab/a"])
    with broker.running():
        yield broker


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    yield supervisor
    supervisor.close()


CLOUD_TOML = """
models = [{{ path = "cloud" }}]
server = {{ port = 0 }}
metrics = {{ port = 0 }}
tls = {{ client_ca = "ca.crt" }}
[fleet]
mqtt = {{ host = "{host}", port = {port}, username = "sink", tls = {{ ca = "ca.crt" }} }}
watch = {{ username = "watch" }}
"""

NODE_TOML = """
node = {{ site = "lab", name = "a" }}
model = {{ path = "edge", threads = 2 }}
source = {{ kind = "array", path = "samples.npy" }}
gate = {{ policy = "always_cloud" }}
mqtt = {{ host = "{host}", port = {port}, username = "lab/a", tls = {{ ca = "ca.crt" }} }}
metrics = {{ port = 0 }}
[cloud]
target = "{cloud}"
deadline = {wait}
tls = {{ ca = "ca.crt", cert = "certs/server.crt", key = "certs/server.key" }}
"""


@pytest.fixture
def cloud(broker: Broker) -> Iterator[str]:
    """Address of a cloud server in its unit's sandbox, with the broker's certificate."""
    folder = broker.folder
    cloud_artifact(folder / "cloud")
    (folder / "cloud.toml").write_text(CLOUD_TOML.format(host=HOST, port=broker.tls_port))
    (folder / "mqtt-password").write_text(PASSWORD)
    (folder / "watch-password").write_text(PASSWORD)
    copy(folder / "certs/server.crt", folder / "tls.crt")
    copy(folder / "certs/server.key", folder / "tls-key")
    unit = Unit(CLOUD, folder)
    dropped_in = Unit("cloud-server-fleet.conf", folder).environment()
    with unit.running(STATE_DIRECTORY=str(folder), **dropped_in) as process:
        assert wait_until(lambda: process.poll() is not None or " ready on " in unit.log.read_text(), WAIT)
        assert process.poll() is None, unit.log.read_text()
        yield unit.log.read_text().partition(" ready on ")[2].partition(",")[0]
        process.terminate()
        assert process.wait(WAIT) == 0


@sandboxed
def test_the_units_programs_work_under_what_the_units_forbid(
    broker: Broker, cloud: str, supervisor: Supervisor
) -> None:
    """A node in its sandbox, the server in its own, the broker of the kit between it and a reader."""
    folder, rows = broker.folder, samples()
    edge_artifact(folder / "edge", artifact.load(folder / "cloud"))
    np.save(folder / "samples.npy", rows)
    (folder / "node.toml").write_text(
        NODE_TOML.format(cloud=cloud, wait=WAIT, host=HOST, port=broker.tls_port)
    )
    unit = Unit(EDGE, folder)
    with connect(broker, "fleet") as fleet:
        fleet.subscribe("tidegate/lab/a/result")
        with unit.running(NOTIFY_SOCKET=str(supervisor.address)) as node:
            reasons = [json.loads(fleet.next()[1])["reason"] for _ in rows]
            assert node.wait(WAIT) == 0, unit.log.read_text()
    assert reasons == ["cloud"] * len(rows)
    assert wait_until(lambda: len(ids(f"sqlite:///{folder}/fleet.sqlite")) == len(rows), WAIT)
    assert [supervisor.next(), supervisor.next()] == ["READY=1", "STOPPING=1"]


QUIET_TOML = """
node = { site = "lab", name = "a" }
model = { path = "edge", threads = 1 }
source = { kind = "stdin" }
metrics = { port = 0 }
"""


def test_a_node_without_work_keeps_its_watchdog_calm(tmp_path: Path, supervisor: Supervisor) -> None:
    edge_artifact(tmp_path / "edge")
    (tmp_path / "node.toml").write_text(QUIET_TOML)
    environment = {**os.environ, "NOTIFY_SOCKET": str(supervisor.address), "WATCHDOG_USEC": "100000"}
    command = Unit(EDGE, tmp_path).command()
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as node:
        assert [supervisor.next() for _ in range(3)] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
        node.terminate()
        assert wait_until(lambda: supervisor.next() == "STOPPING=1", WAIT)
    assert node.returncode == 0
