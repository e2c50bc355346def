"""Shapes that fit whatever room they get, and the same frame for terminals that know only ASCII."""

from collections.abc import Iterable, Sequence
from math import isfinite

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

THEME = Theme(
    {
        "edge": "cyan",
        "cloud": "magenta",
        "good": "green",
        "warn": "yellow",
        "wrong": "bold red",
        "quiet": "dim",
        "strong": "bold",
    }
)
"""The terminal's own colours, so that they suit its background; nothing but edge and cloud has theirs."""
STEPS = "▁▂▃▄▅▆▇"
"""None as high as its line: curves one below the other stay apart."""
PARTS = {"edge": "█", "cloud": "▓", "warn": "░"}
"""The parts of a bar, told apart without colour."""
_ASCII = str.maketrans(STEPS + "█▓░●·─", "_.-:=+*" + "#=.*--")


class Fitting:
    """Takes the width that there is."""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


class Curve(Fitting):
    """A line of small columns from zero up; the newest value at the right, nothing where it is unknown."""

    def __init__(self, values: Sequence[float], style: str) -> None:
        self._values, self._style = values, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = list(self._values)[-options.max_width :]
        most = max(filter(isfinite, shown), default=0) or 1
        drawn = "".join(_step(value / most) for value in shown)
        yield Text(drawn.rjust(options.max_width), self._style)


class Bar(Fitting):
    """Shares of a whole, by style; each that is there gets a cell at least."""

    def __init__(self, shares: Sequence[tuple[str, float]]) -> None:
        self._shares = shares

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [max(1, round(share * options.max_width)) if share > 0 else 0 for _, share in self._shares]
        if cells:
            cells[cells.index(max(cells))] += options.max_width - sum(cells)
        parts = zip(self._shares, cells, strict=True)
        yield Text.assemble(*((PARTS[style] * width, style) for (style, _), width in parts), no_wrap=True)


class Encoded:
    """The same in ASCII, where the terminal has no more."""

    def __init__(self, frame: RenderableType) -> None:
        self._frame = frame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._frame, options):
            yield segment if not options.ascii_only else _ascii(segment)


def facts(rows: Iterable[tuple[str, RenderableType]], width: int = 10) -> Table:
    """Names and what they are, a line each."""
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(width=width, style="quiet", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    for name, value in rows:
        table.add_row(name, value)
    return table


def _step(share: float) -> str:
    return STEPS[min(int(share * len(STEPS)), len(STEPS) - 1)] if isfinite(share) else " "


def _ascii(segment: Segment) -> Segment:
    text = segment.text.translate(_ASCII).encode("ascii", "replace").decode()
    return Segment(text, segment.style, segment.control)
