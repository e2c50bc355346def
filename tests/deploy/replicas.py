"""Real replicas of the cloud server behind the kit's Envoy, its callers, and what may befall a replica."""

import json
import os
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import StringIO
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import trustme
from ruamel.yaml import YAML

from deploy.demo.processes import Child, wait_until
from protos import codec
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.models import cloud_artifact
from tests.ports import free_port
from tests.services import require

KIT = Path(__file__).parents[2] / "deploy" / "envoy"
REPLICAS, CALLERS, CHANNELS = 3, 16, 4
PATIENCE, DEADLINE = 60.0, 10.0
"""Seconds: for anything to start; of one call."""
HOST = "127.0.0.1"
Place = tuple[list[str], str, int]
"""Of a replica: what stands before its command, host and port."""


class Replica:
    """A server that can be ended and started again at the same address."""

    def __init__(self, folder: Path, number: int, at: Place, model: Path) -> None:
        self.there, host, port = at
        self.folder, self.name, self.address = folder, f"replica-{number}", (host, port)
        self._starts = count()
        self.config = folder / f"{self.name}.toml"
        self.config.write_text(
            f'[[models]]\npath = "{model}"\n[server]\nhost = "{host}"\nport = {port}\n'
            f'[tls]\ncert = "{folder}/replica.pem"\nkey = "{folder}/replica.key"\n'
            f'client_ca = "{folder}/replicas-ca.pem"\n[metrics]\nport = 0\n'
            f'[access]\nproxy = "proxy"\nmodels = {{ cam-1 = ["cloud"], "*" = [] }}\n'
        )
        self.start()

    def start(self) -> None:
        command: list[str | Path] = [
            *self.there,
            sys.executable,
            "-m",
            "cloud_server",
            "run",
            "--config",
            self.config,
        ]
        log = self.folder / f"{self.name}.{next(self._starts)}.log"
        self.child = Child(self.name, command, log)
        self.child.__enter__()

    def ready(self) -> bool:
        return "ready on" in self.child.log.read_text()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.child.pid, number)

    def end(self) -> None:
        """However it is, it ends."""
        with suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        self.child.wait(PATIENCE)

    def answered(self) -> float:
        """Calls, by its own count."""
        url = self.child.log.read_text().partition("metrics on ")[2].split(",")[0]
        with urllib.request.urlopen(url, timeout=PATIENCE) as page:
            lines = page.read().decode().splitlines()
        counted = 'tidegate_requests_total{code="OK",method="ModelInfer"}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(counted))


@dataclass
class Stand:
    """What is called, and what answers."""

    replicas: list[Replica]
    target: str
    admin: str
    devices: dict[str, grpc.ChannelCredentials]
    """What they have, by name; without a name nothing."""
    stubs: list[Any] = field(default_factory=list)

    def hosts(self) -> dict[str, Any]:
        """Of each replica, what Envoy knows: calls, and whether it is healthy."""
        with urllib.request.urlopen(f"{self.admin}/clusters?format=json", timeout=PATIENCE) as page:
            (cluster,) = json.load(page)["cluster_statuses"]
        return {
            f"{at['address']}:{at['port_value']}": status
            for status in cluster["host_statuses"]
            for at in [status["address"]["socket_address"]]
        }

    def calls(self) -> dict[str, int]:
        """Calls that Envoy has sent to each."""
        totals = {}
        for address, status in self.hosts().items():
            stats = {it["name"]: int(it.get("value", 0)) for it in status["stats"]}
            totals[address] = stats["rq_total"]
        return totals

    def whole(self) -> bool:
        """Whether Envoy takes every replica for healthy."""
        known = [status["health_status"] for status in self.hosts().values()]
        return known == [{"eds_health_status": "HEALTHY"}] * len(self.replicas)


@contextmanager
def stand(folder: Path, change: Callable[[str], str] = str, places: Sequence[Place] = ()) -> Iterator[Stand]:
    """Three replicas behind the kit's Envoy, whose settings ``change`` may spoil."""
    envoy = require("envoy")
    model = cloud_artifact(folder / "cloud").directory
    devices = certify(folder)
    with ExitStack() as running:
        places = places or [([], HOST, free_port()) for _ in range(REPLICAS)]
        replicas = [Replica(folder, number, at, model) for number, at in enumerate(places)]
        for replica in replicas:
            running.callback(replica.end)
        kit, port, admin = folder / "envoy", free_port(), free_port()
        equip(kit, folder, [it.address for it in replicas], lambda text: change(ports(text, port, admin)))
        options = ["--disable-hot-restart", "--concurrency", "2", "-l", "warning", "-c", "envoy.yaml"]
        running.enter_context(Child("envoy", ["env", "-C", kit, envoy, *options], folder / "envoy.log"))
        found = Stand(replicas, f"localhost:{port}", f"http://{HOST}:{admin}", devices)
        whole(found)
        found.stubs = [running.enter_context(calling(found, "cam-1")) for _ in range(CHANNELS)]
        yield found


def certify(folder: Path) -> dict[str, grpc.ChannelCredentials]:
    """An authority of replicas and their proxy, and one of devices; gives what a device has."""
    ours, theirs = trustme.CA(), trustme.CA()
    for name, names in (("replica", ["cloud-server"]), ("proxy", ["proxy", "localhost"])):
        made = ours.issue_cert(*names)
        made.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        (folder / f"{name}.pem").write_bytes(b"".join(it.bytes() for it in made.cert_chain_pems))
    ours.cert_pem.write_to_path(str(folder / "replicas-ca.pem"))
    theirs.cert_pem.write_to_path(str(folder / "devices-ca.pem"))
    trusted = ours.cert_pem.bytes()
    issued = {name: theirs.issue_cert(name) for name in ("cam-1", "cam-2")}
    devices = {
        name: grpc.ssl_channel_credentials(trusted, it.private_key_pem.bytes(), it.cert_chain_pems[0].bytes())
        for name, it in issued.items()
    }
    insider = ours.issue_cert("cam-1")
    devices["insider"] = grpc.ssl_channel_credentials(
        trusted, insider.private_key_pem.bytes(), insider.cert_chain_pems[0].bytes()
    )
    return {"": grpc.ssl_channel_credentials(trusted), **devices}


def equip(
    kit: Path, certificates: Path, addresses: Sequence[tuple[str, int]], change: Callable[[str], str]
) -> None:
    """The kit, with these replicas and certificates."""
    shutil.copytree(KIT, kit)
    for name in ("proxy.pem", "proxy.key", "replicas-ca.pem", "devices-ca.pem"):
        shutil.copy(certificates / name, kit / "tls")
    settings = kit / "envoy.yaml"
    settings.write_text(change(settings.read_text()))
    place(kit, addresses)


def place(kit: Path, addresses: Sequence[tuple[str, int]]) -> None:
    """These are the replicas from now on."""
    head = (KIT / "replicas.yaml").read_text().partition("          - endpoint:")[0]
    line = "          - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}\n"
    (kit / "new.yaml").write_text(head + "".join(line.format(*address) for address in addresses))
    (kit / "new.yaml").rename(kit / "replicas.yaml")


def ports(text: str, inference: int, admin: int) -> str:
    return text.replace("port_value: 8001", f"port_value: {inference}").replace(
        "port_value: 9901", f"port_value: {admin}"
    )


def answers(found: Stand) -> bool:
    """Whether Envoy and all replicas behind it are there."""
    try:
        return found.whole()
    except (OSError, ValueError):
        return False


@contextmanager
def calling(
    found: Stand, device: str, target: str = "", options: Sequence[tuple[str, Any]] = ()
) -> Iterator[Any]:
    """A stub with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), *(options or [("grpc.enable_retries", 0)])]
    with grpc.secure_channel(target or found.target, found.devices[device], options) as channel:
        yield GRPCInferenceServiceStub(channel)


@dataclass
class Seen:
    """What callers saw."""

    seconds: list[float] = field(default_factory=list)
    """Of every call that was answered, and answered right."""
    failures: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    """Calls that Envoy has sent to each replica meanwhile."""

    def at(self, share: float) -> float:
        """A quantile, in milliseconds."""
        return 1e3 * sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]

    def balance(self, struck: int = 0) -> float:
        """Calls of the busiest replica over those of the idlest, without the first so many."""
        sent = list(self.sent.values())[struck:]
        return max(sent) / min(sent) if min(sent) else inf


def call(
    found: Stand, calls: int, befall: Callable[[Stand, Callable[[int], None]], object], deadline: float
) -> Seen:
    """So many calls at least by all callers, and on until ``befall`` is over.

    ``befall`` may wait for so many calls to be made.
    """
    seen, over, before = Seen(), threading.Event(), found.calls()
    request = codec.request("cloud", {"x": np.array([[1, 5, 2]], np.float32)})

    def ask(stub: Any) -> None:
        while not over.is_set() or len(seen.seconds) + len(seen.failures) < calls:
            began = time.perf_counter()
            try:
                logits = codec.response_tensors(stub.ModelInfer(request, timeout=deadline))["logits"]
                assert logits.argmax() == 1
                seen.seconds.append(time.perf_counter() - began)
            except grpc.RpcError as error:
                seen.failures.append(f"{error.code().name}: {error.details()}")

    def made(number: int) -> None:
        assert wait_until(lambda: len(seen.seconds) + len(seen.failures) >= number, 4 * PATIENCE)

    callers = [threading.Thread(target=ask, args=(found.stubs[it % CHANNELS],)) for it in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        befall(found, made)
    finally:
        over.set()
        for caller in callers:
            caller.join()
    after = found.calls()
    names = [f"{host}:{port}" for host, port in (it.address for it in found.replicas)]
    seen.sent = {name: after[name] - before[name] for name in names}
    return seen


def whole(found: Stand) -> None:
    assert wait_until(lambda: all(it.ready() for it in found.replicas) and answers(found), PATIENCE)


def nothing(_: Stand, made: Callable[[int], None]) -> None:
    """Callers have their peace."""
    made(1)


def killed(found: Stand, made: Callable[[int], None], begin: int = 2000, end: int = 5000) -> None:
    """``kill -9`` of the first, and a new one in its place."""
    made(begin)
    found.replicas[0].send(signal.SIGKILL)
    found.replicas[0].child.wait(PATIENCE)
    made(end)
    found.replicas[0].start()
    whole(found)


def hung(found: Stand, made: Callable[[int], None], begin: int = 2000, end: int = 5000) -> None:
    """The first answers nothing, and its connections stand; then it goes on."""
    made(begin)
    found.replicas[0].send(signal.SIGSTOP)
    made(end)
    found.replicas[0].send(signal.SIGCONT)
    whole(found)


def drained(found: Stand, made: Callable[[int], None], begin: int = 2000, end: int = 5000) -> None:
    """The first is told to stop, and does; a new one comes."""
    made(begin)
    assert restart(found.replicas[0], lambda: made(end)) == 0
    whole(found)


def rolled(found: Stand, made: Callable[[int], None], begin: int = 2000) -> None:
    """One after the other is replaced, each when the one before is back."""
    made(begin)
    for replica in found.replicas:
        assert restart(replica, lambda: None) == 0
        whole(found)


def restart(replica: Replica, meanwhile: Callable[[], object]) -> int:
    """Stop in peace, then start; gives how it stopped."""
    replica.send(signal.SIGTERM)
    code = replica.child.wait(PATIENCE)
    meanwhile()
    replica.start()
    return code


def merging(text: str) -> str:
    """The settings without what tells the balancer at once."""
    return text.replace("update_merge_window: 0s", "update_merge_window: 1s")


def unprotected(text: str) -> str:
    """The settings without what makes up for a replica that fails."""
    yaml = YAML(typ="safe")
    settings = yaml.load(text)
    (cluster,) = settings["static_resources"]["clusters"]
    for name in ("health_checks", "outlier_detection"):
        del cluster[name]
    manager = settings["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        route.get("route", {}).pop("retry_policy", None)
    changed = StringIO()
    yaml.dump(settings, changed)
    return changed.getvalue()
