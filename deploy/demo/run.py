"""One run of the demo, from the first process to the last."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.demo import promise, report
from deploy.demo.broker import Broker, open_broker
from deploy.demo.collect import Collector
from deploy.demo.comparison import Comparison, compare
from deploy.demo.fleet import POLICIES, Cloud, Fleet, Node, Site, open_cloud, open_fleet
from deploy.demo.link import PROFILES, Link
from deploy.demo.plot import write_plot
from deploy.demo.processes import Child, wait_until
from deploy.demo.prometheus import Prometheus, open_prometheus, program
from deploy.demo.scenario import Scenario
from deploy.demo.view import View

_START = 60.0
_LAST_RESULTS = 5.0
_LOOK = 0.5
_SCRAPES = "5s"
_STAYS = "hybrid"
"""The policy of the fleet that stays up."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What to run and where its files go."""

    scenario: Scenario
    link: str
    run_dir: Path
    console: Console
    prometheus: bool = False
    """Whether one watches the fleet that stays up."""

    def run(self, *, once: bool) -> list[str]:
        """Compare, report, and unless `once` stay up until interrupted; a line for each thing that failed."""
        if self.prometheus:
            program()
        with ExitStack() as stack:
            link = stack.enter_context(Link(PROFILES[self.link]))
            broker = stack.enter_context(open_broker(self.run_dir))
            cloud = stack.enter_context(open_cloud(self.run_dir, self.scenario))
            site = Site(self.run_dir, self.scenario, link, broker, cloud)
            failures = self._compare(site)
            if not once and not failures:
                failures = self._stay(site)
        return list(dict.fromkeys([*failures, *_ended_badly([cloud.process])]))

    def _compare(self, site: Site) -> list[str]:
        """All policies at once over the same samples, then table, plot and report."""
        with Collector(site.broker) as collector:
            with _nodes(site, POLICIES) as nodes:
                self.console.print(self._headline(site.broker))
                latest = time.monotonic() + _START + 3 * self.scenario.seconds
                View(self.console, self.scenario, nodes, collector).follow(
                    lambda: all(_ended(node.process) for node in nodes) or time.monotonic() > latest
                )
                failures = _ended_badly(node.process for node in nodes)
            expected = self.scenario.samples * len(POLICIES)
            wait_until(lambda: sum(map(len, collector.everything().values())) >= expected, _LAST_RESULTS)
            comparison = compare(self.scenario, nodes, collector)
            failures += collector.invalid() + comparison.miscounts()
            collector.forget(node.id for node in nodes if node.id.site != _STAYS)
        self._show(comparison, site.broker)
        return failures

    def _headline(self, broker: Broker) -> str:
        return (
            f"{self.scenario.title}: {len(self.scenario.streams)} devices, three ways side by side\n"
            f"link {self.link}: {report.describe(PROFILES[self.link])}\n"
            f"broker {broker.kind}, logs in {self.run_dir}"
        )

    def _show(self, comparison: Comparison, broker: Broker) -> None:
        paths = write_plot(self.run_dir / "accuracy-bytes", comparison)
        written = self.run_dir / "report.md"
        report.write_report(written, comparison, self.link, PROFILES[self.link], broker.kind)
        told = (report.markdown_table(comparison), "", report.counted(comparison), report.CALL_NOTE)
        for text in ("", *told, "", promise.kept(comparison), ""):
            self.console.print(text)
        for path in (written, *paths):
            self.console.print(f"written: {path}")

    def _stay(self, site: Site) -> list[str]:
        """The hybrid nodes as a fleet that stays up until interrupted; what ends before is told at once."""
        with open_fleet(self.run_dir, site.broker) as fleet, _nodes(site, [_STAYS], repeat=True) as nodes:
            servers = [site.broker.process, site.cloud.process, fleet.process]
            watched = [*servers, *(node.process for node in nodes)]
            wait_until(lambda: all(node.metrics or _ended(node.process) for node in nodes), _START)
            failures: list[str] = []
            with suppress(KeyboardInterrupt), self._watching(nodes, site.cloud, fleet) as prometheus:
                self._say_where(site.broker, site.cloud, nodes, fleet)
                if prometheus:
                    watched.append(prometheus.process)
                    self.console.print(f"Prometheus, with rules and alerts: {prometheus.url}")
                while watched:
                    for process in filter(_ended, watched.copy()):
                        watched.remove(process)
                        failures.append(_ending(process))
                        self.console.print(failures[-1])
                    time.sleep(_LOOK)
        return failures

    @contextmanager
    def _watching(self, nodes: Sequence[Node], cloud: Cloud, fleet: Fleet) -> Iterator[Prometheus | None]:
        """Prometheus, if it was asked for."""
        if not self.prometheus:
            yield None
            return
        pages = {node.id: node.metrics for node in nodes if node.metrics}
        with open_prometheus(self.run_dir, pages, [cloud.metrics, fleet.metrics], _SCRAPES) as prometheus:
            yield prometheus

    def _say_where(self, broker: Broker, cloud: Cloud, nodes: Sequence[Node], fleet: Fleet) -> None:
        lines = [
            "",
            "The fleet stays up; Ctrl-C stops it.",
            f"  results  mosquitto_sub -V 5 -h {broker.host} -p {broker.port} -v -t 'tidegate/#'",
            f"  cloud    {broker.host}:{cloud.port} (Open Inference Protocol v2), metrics {cloud.metrics}",
            *(f"  node     {node.id.site}/{node.id.name}, metrics {node.metrics}" for node in nodes),
            f"  logs     {self.run_dir}",
            f"\nThe dashboard, live: {fleet.page}",
        ]
        self.console.print("\n".join(lines))


@contextmanager
def _nodes(site: Site, policies: Iterable[str], *, repeat: bool = False) -> Iterator[list[Node]]:
    """A node for each stream and policy; on leaving all are asked to stop before any is waited for."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(site.node(policy, stream, repeat=repeat))
            for stream in site.scenario.streams
            for policy in policies
        ]
        try:
            yield nodes
        finally:
            for node in nodes:
                node.process.terminate()


def _ended(process: Child) -> bool:
    return process.poll() is not None


def _ended_badly(processes: Iterable[Child]) -> list[str]:
    """A line for each process that has not ended with status 0."""
    return [_ending(process) for process in processes if process.poll() != 0]


def _ending(process: Child) -> str:
    """How a process ended and the last that it said."""
    status = process.poll()
    how = "had not ended in time" if status is None else f"ended with status {status}"
    return f"{process.name} {how}: {process.last_line()} (log: {process.log})"
