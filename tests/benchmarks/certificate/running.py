"""Real nodes before a real cloud over the demo's link, watched while they run."""

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

from deploy.demo.broker import open_broker
from deploy.demo.collect import Collector
from deploy.demo.fleet import Node, Site, open_cloud
from deploy.demo.link import PROFILES, Link
from deploy.demo.processes import wait_until
from deploy.demo.run import _ended, _ended_badly, _nodes
from deploy.demo.scenario import Scenario

LINK = "lte"
AUDITS = 'tidegate_audits{outcome="answered"}'
STANDING = "tidegate_certificate_standing"
EVERY = 1.0
"""Seconds between two looks at the metrics of the hybrid node."""

T = TypeVar("T")


def run(
    scenario: Scenario,
    run_dir: Path,
    policies: Iterable[str],
    see: Callable[[dict[str, float]], None],
    finish: Callable[[Sequence[Node], Collector], T],
) -> T:
    """What `finish` makes of the nodes once all have ended; ends the program if one has ended badly.

    `see` is shown the metrics of the hybrid node as it runs.
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    policies = list(policies)
    with ExitStack() as stack:
        link = stack.enter_context(Link(PROFILES[LINK]))
        broker = stack.enter_context(open_broker(run_dir))
        cloud = stack.enter_context(open_cloud(run_dir, scenario))
        collector = stack.enter_context(Collector(broker))
        nodes = stack.enter_context(_nodes(Site(run_dir, scenario, link, broker, cloud), policies))
        hybrid = next(node for node in nodes if node.id.site == "hybrid")
        latest = time.monotonic() + 120 + 3 * scenario.seconds
        while time.monotonic() < latest and not all(_ended(node.process) for node in nodes):
            if page := _page(hybrid):
                see(page)
            time.sleep(EVERY)
        failures = _ended_badly(node.process for node in nodes)
        expected = scenario.samples * len(policies)
        wait_until(lambda: sum(map(len, collector.everything().values())) >= expected, 10)
        if failures := [*failures, *collector.invalid()]:
            raise SystemExit("\n".join(failures))
        return finish(nodes, collector)


def files_in(folder: Path, files: Sequence[tuple[str, bytes]]) -> None:
    """Make the folder hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files:
        (folder / name).write_bytes(content)


def _page(node: Node) -> dict[str, float]:
    """The node's metrics by name and labels; empty where it has no page, or none any more."""
    try:
        with urlopen(node.metrics, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, ValueError):
        return {}
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }
