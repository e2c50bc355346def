"""What happens while it happens: a table on a terminal, now and then a line elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.demo.collect import Collector
from deploy.demo.comparison import judged
from deploy.demo.figures import Figures, Judge
from deploy.demo.fleet import Node
from deploy.demo.scenario import Scenario

_LOOK = 0.25
_REFRESH = 0.5
_LINE_EVERY = 5.0


class View:
    """Shows nodes until they have ended."""

    def __init__(
        self, console: Console, scenario: Scenario, nodes: Sequence[Node], collector: Collector
    ) -> None:
        self._console = console
        self._scenario = scenario
        self._nodes = nodes
        self._collector = collector

    def follow(self, ended: Callable[[], bool]) -> None:
        """Show progress until `ended`."""
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False) as live:
                _repeat(lambda: live.update(self._table(), refresh=True), _REFRESH, ended)
        else:
            _repeat(lambda: self._console.print(self._line()), _LINE_EVERY, ended)

    def _table(self) -> Table:
        table = Table("node", "samples", "offloaded", "accuracy", "p50 ms", "")
        for column in table.columns[1:5]:
            column.justify = "right"
        judge = judged(self._scenario, self._collector)
        for node in self._nodes:
            table.add_row(*self._row(node, judge))
        return table

    def _row(self, node: Node, judge: Judge) -> list[str]:
        figures = Figures(self._collector.results(node.id), judge)
        latency = figures.latency(lambda result: result.latency_ms.total)
        return [
            f"{node.id.site}/{node.id.name}",
            f"{figures.samples:,} of {node.stream.samples:,}",
            f"{100 * figures.offloaded:.0f} %",
            f"{100 * figures.accuracy:.1f} %" if figures.verdicts else "",
            f"{np.median(latency):.1f}" if len(latency) else "",
            self._state(node),
        ]

    def _state(self, node: Node) -> str:
        status = node.process.poll()
        if status is None:
            return "running" if self._collector.online(node.id) else "starting"
        return "done" if status == 0 else f"ended with {status}"

    def _line(self) -> str:
        counts = Counter[str]()
        for node in self._nodes:
            counts[node.id.site] += len(self._collector.results(node.id))
        parts = (f"{site} {count:,}" for site, count in counts.items())
        return f"results of {self._scenario.samples:,} samples: {', '.join(parts)}"


def _repeat(show: Callable[[], None], every: float, ended: Callable[[], bool]) -> None:
    """Show now, then `every` seconds, and once more at the end."""
    due = time.monotonic()
    while not ended():
        if time.monotonic() >= due:
            show()
            due = time.monotonic() + every
        time.sleep(_LOOK)
    show()
