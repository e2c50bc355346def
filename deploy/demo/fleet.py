"""The cloud server and the edge nodes, each a process with settings of its own."""

import json
import re
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.broker import Broker
from deploy.demo.collect import NodeId
from deploy.demo.errors import DemoError
from deploy.demo.link import Forward, Link
from deploy.demo.processes import HOST, Child, wait_until
from deploy.demo.scenario import Scenario, Stream

POLICIES: Mapping[str, str] = {
    "edge-only": "always_edge",
    "hybrid": "threshold",
    "cloud-only": "always_cloud",
}
"""The site that stands for each way to answer, and the gate policy of its nodes."""

_START_TIMEOUT = 60.0
_SNAPSHOT = 5.0
"""Seconds between the snapshots of a node's metrics: who looks at a demo does not want to wait."""
_READY = re.compile(r"ready on (?P<host>\S+):(?P<port>\d+), metrics on (?P<metrics>\S+),")
_PAGE = re.compile(r"dashboard on (?P<page>http://\S+)")
_METRICS = re.compile(r"metrics on (?P<metrics>http://[^\s,]+)")


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud server that answers."""

    port: int
    metrics: str
    process: Child


@dataclass(frozen=True, slots=True)
class Fleet:
    """A server that stores results, hears the nodes and shows them."""

    page: str
    metrics: str
    process: Child


@dataclass(frozen=True, slots=True)
class Node:
    """An edge node, and its two ways over the link."""

    id: NodeId
    stream: Stream
    process: Child
    grpc: Forward | None
    """None where the policy asks no cloud."""
    mqtt: Forward

    @property
    def metrics(self) -> str:
        """Address of its metrics page, empty until it has one."""
        found = _METRICS.search(self.process.log.read_text(errors="replace"))
        return found["metrics"] if found else ""


@dataclass(frozen=True, slots=True)
class Site:
    """All that a node needs to know of where it is."""

    run_dir: Path
    scenario: Scenario
    link: Link
    broker: Broker
    cloud: Cloud

    @contextmanager
    def node(self, site: str, stream: Stream, *, repeat: bool = False) -> Iterator[Node]:
        """Run one node of `site` on a stream; with `repeat` it begins again at the end."""
        node_id = NodeId(site, stream.name)
        offloads = POLICIES[site] != "always_edge"
        mqtt = self.link.forward(self.broker.host, self.broker.port)
        grpc = self.link.forward(HOST, self.cloud.port) if offloads else None
        config = self.run_dir / f"{site}.{stream.name}.toml"
        config.write_text(
            _toml(
                {
                    "node": {"site": site, "name": stream.name},
                    "model": {"path": str(self.scenario.edge.absolute()), "threads": 1},
                    "source": {**stream.source, "rate": self.scenario.rate, "repeat": repeat},
                    "gate": {"policy": POLICIES[site]},
                    **({"cloud": {"target": f"{HOST}:{grpc.port}"}} if grpc else {}),
                    "mqtt": {"host": HOST, "port": mqtt.port},
                    "metrics": {"port": 0, "snapshot": _SNAPSHOT},
                    "outbox": {
                        "path": str(config.with_suffix(".outbox")),
                        "confirm": "sink" if repeat else "puback",  # while they compare, nobody stores
                    },
                    **self.scenario.settings,
                }
            )
        )
        command: list[str | Path] = [_program("edge-node"), "run", "--config", config]
        with Child(f"{site}/{stream.name}", command, config.with_suffix(".log")) as process:
            yield Node(node_id, stream, process, grpc, mqtt)


@contextmanager
def open_cloud(run_dir: Path, scenario: Scenario) -> Iterator[Cloud]:
    """Run the cloud server until the block ends; DemoError when it does not come up."""
    config = run_dir / "cloud.toml"
    models = {"path": str(scenario.cloud.absolute())}
    config.write_text(_toml({"server": {"port": 0}, "metrics": {"port": 0}, "[models]": models}))
    command: list[str | Path] = [_program("cloud-server"), "run", "--config", config]
    with Child("cloud server", command, run_dir / "cloud.log") as process:
        yield _await_cloud(process)


@contextmanager
def open_fleet(run_dir: Path, broker: Broker) -> Iterator[Fleet]:
    """Run the fleet's part of a cloud server until the block ends; DemoError when it does not come up."""
    config = run_dir / "fleet.toml"
    tables: dict[str, dict[str, str | float | bool]] = {
        "fleet": {"database": f"sqlite:///{run_dir / 'fleet.sqlite'}"},
        "fleet.mqtt": {"host": broker.host, "port": broker.port},
        "dashboard": {"port": 0},
        "metrics": {"port": 0},
    }
    config.write_text(_toml(tables))
    command: list[str | Path] = [_program("cloud-server"), "run", "--config", config]
    with Child("fleet server", command, run_dir / "fleet.log") as process:
        yield Fleet(_await(process, _PAGE)["page"], _await(process, _METRICS)["metrics"], process)


def _await_cloud(process: Child) -> Cloud:
    found = _await(process, _READY)
    return Cloud(int(found["port"]), found["metrics"], process)


def _await(process: Child, said: "re.Pattern[str]") -> "re.Match[str]":
    """What a server says once it is ready."""

    def ready() -> "re.Match[str] | None":
        return said.search(process.log.read_text(errors="replace"))

    wait_until(lambda: process.poll() is not None or ready() is not None, _START_TIMEOUT)
    found = ready()
    if process.poll() is not None or found is None:
        raise DemoError(f"the {process.name} did not start: {process.last_line()} (log: {process.log})")
    return found


def _program(name: str) -> Path:
    """A command that was installed with this Python."""
    program = Path(sysconfig.get_path("scripts")) / name
    if not program.exists():
        raise DemoError(f"no command {name} beside this Python: run `pip install -e '.[demo]'`")
    return program


def _toml(tables: Mapping[str, Mapping[str, str | float | bool]]) -> str:
    """Flat tables as TOML, whose scalars are written as in JSON."""
    return "".join(
        f"[{name}]\n"
        + "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())
        for name, table in tables.items()
    )
