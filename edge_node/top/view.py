"""The screen: what is known of the node, or why nothing is."""

from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from edge_node.top import sections, words
from edge_node.top.drawing import Curve, Encoded
from edge_node.top.history import History, Span, uptime
from edge_node.top.reading import SAMPLES, Reading

INTERVAL = 2.0
"""Seconds from reading to reading."""
LATE = 3 * INTERVAL
"""Age of a reading from which it is no longer what is."""
NARROW, TALL = 72, 34
"""Columns below which all stands in one; lines from which there is more to say."""


@dataclass
class View:
    """One node: where it is, what is known of its settings, and what it said."""

    url: str
    name: str = ""
    cloud: bool | None = None
    """Whether one is set up; None if nobody says."""
    mqtt: bool | None = None
    history: History = field(default_factory=History)
    problem: str = ""
    """Why the last reading failed; empty if it did not."""
    now: float = 0.0
    """Monotonic seconds."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        yield Encoded(self._screen(width, roomy=height >= TALL))

    def _screen(self, width: int, *, roomy: bool) -> RenderableType:
        last = self.history.last
        if last is None:
            return self._nothing()
        body = self._body(self.history.recent(), width, roomy=roomy)
        late = bool(self.problem) or self.now - last.at > LATE
        return Group(self._head(last), Styled(body, "dim") if late else body, self._foot())

    def _nothing(self) -> Group:
        what = Text(f"{self.problem}; looking again", "warn") if self.problem else Text("looking", "quiet")
        return Group(
            Text.assemble(("edge-node top", "strong"), f"  {words.clean(self.name)}"),
            "",
            Text.assemble(f"{words.clean(self.url, 200)}: ", what),
            "",
            Text("Is the node running there?  edge-node run --config node.toml", "quiet"),
            Text("Is it somewhere else?       edge-node top URL, or --config node.toml", "quiet"),
            "",
            self._foot(),
        )

    def _head(self, last: Reading) -> Table:
        model = (last.info("tidegate_model_info", it) for it in ("name", "version", "precision"))
        memory = words.size(last.value("process_resident_memory_bytes"))
        table = Table.grid(expand=True)
        table.add_column(ratio=1, no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_row(
            Text.assemble(
                (words.clean(self.name or self._place()), "strong"), "  ", words.clean(" ".join(model))
            ),
            Text.assemble((f"up {words.age(uptime(last))} · {memory}   ", "quiet"), self._state(last)),
        )
        return table

    def _place(self) -> str:
        return self.url.removeprefix("http://").removesuffix("/metrics")

    def _state(self, last: Reading) -> Text:
        old = words.age(self.now - last.at)
        span = self.history.recent()
        if self.problem:
            return Text(f"● not reachable for {old}", "wrong")
        if self.now - last.at > LATE:
            return Text(f"● no answer for {old}", "wrong")
        if not last.value(SAMPLES):
            return Text("● starting, no samples yet", "warn")
        if self.history.restarted(self.now):
            return Text("● restarted", "warn")
        if span.old and span.seconds > LATE and not span.grown(SAMPLES):
            return Text("● idle, no samples", "warn")
        return Text("● live", "good")

    def _body(self, span: Span, width: int, *, roomy: bool) -> Group:
        curves = list(self.history.curves)
        gap = [""] if roomy else []
        top = _titled(f"Latency, {sections.period(span)}", sections.latency(span, curves, roomy=roomy))
        cards = [
            _titled(f"Answers{sections.offload(span)}", sections.answers(span, roomy=roomy)),
            _titled("Certificate", sections.certificate(span, roomy=roomy)),
            _titled("Cloud", sections.cloud(span, configured=self.cloud, roomy=roomy)),
            _titled("Outbox", sections.outbox(span, curves, configured=self.mqtt, roomy=roomy)),
            _titled("Network", sections.network(span)),
            _titled("Energy", sections.energy(span)),
        ]
        columns = 1 if width < NARROW else 2
        grid = Table.grid(padding=(0, 3, 0, 0), expand=True)
        for _ in range(columns):
            grid.add_column(ratio=1)
        for first in range(0, len(cards), columns):
            grid.add_row(*cards[first : first + columns])
            for line in gap:
                grid.add_row(line)
        return Group("", self._samples(span), "", top, *gap, grid)

    def _samples(self, span: Span) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True, justify="right")
        rate = Text.assemble((words.number(span.rate(SAMPLES)), "strong"), (" samples/s", "quiet"))
        total = Text(f"{words.count(span.new.value(SAMPLES))} in all", "quiet")
        table.add_row(rate, Curve([point.samples for point in self.history.curves], "quiet"), total)
        return table

    def _foot(self) -> Text:
        keys = ("q", "strong"), (f" quit · every {INTERVAL:.0f} s · {words.clean(self.url, 200)}", "quiet")
        problem = f" · {words.clean(self.problem, 60)}" if self.problem else ""
        return Text.assemble(*keys, (problem, "wrong"), no_wrap=True)


def _titled(title: str, body: RenderableType) -> Group:
    return Group(Rule(Text(title, "strong"), align="left", style="quiet"), body)
