"""A real Prometheus with the kit of ``deploy/prometheus``, where one is installed."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from deploy.demo.collect import NodeId
from deploy.demo.errors import DemoError
from deploy.demo.processes import HOST, Child, wait_until

_KIT = Path(__file__).parents[1] / "prometheus"
_START_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that answers."""

    url: str
    process: Child


def program() -> str:
    """Its path; ``DemoError`` if there is none."""
    if found := shutil.which("prometheus"):
        return found
    raise DemoError("no program prometheus: install it (Debian: apt-get install prometheus), or go without")


@contextmanager
def open_prometheus(
    run_dir: Path, nodes: Mapping[NodeId, str], servers: Iterable[str], interval: str
) -> Iterator[Prometheus]:
    """The kit's scrape configuration and rules, for these URLs of metrics, until the block ends."""
    folder = run_dir / "prometheus"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_KIT, folder)
    config = folder / "prometheus.yml"
    config.write_text(config.read_text().replace("interval: 15s", f"interval: {interval}"))
    _write(folder / "nodes/local.yml", [_node(node, url) for node, url in nodes.items()])
    _write(folder / "servers/local.yml", [{"targets": [urlsplit(url).netloc]} for url in servers])
    url = f"http://{HOST}:{_free_port()}"
    command: list[str | Path] = [
        program(),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={urlsplit(url).netloc}",
    ]
    with Child("prometheus", command, run_dir / "prometheus.log") as process:
        wait_until(lambda: process.poll() is not None or _ready(url), _START_TIMEOUT)
        if not _ready(url):
            raise DemoError(f"prometheus did not start: {process.last_line()} (log: {process.log})")
        yield Prometheus(url, process)


def _node(node: NodeId, url: str) -> object:
    return {"targets": [urlsplit(url).netloc], "labels": {"site": node.site, "node": node.name}}


def _write(path: Path, targets: object) -> None:
    path.write_text(json.dumps(targets))  # which is YAML, too


def _free_port() -> int:
    with socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/-/ready", timeout=1):  # noqa: S310  # our own, on loopback
            return True
    except (URLError, OSError):
        return False
