"""The comparison as a table, and the Markdown report around it."""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.demo.comparison import Column, Comparison
from deploy.demo.figures import Figures
from deploy.demo.link import Profile
from deploy.demo.promise import kept
from protos import artifact
from protos.result import Reason

Row = tuple[str, list[str]]

CALL_NOTE = "Latency is from capture to result; for cloud-only it is that of the gRPC call alone."
BYTES_NOTE = (
    "Bytes are counted at the sockets of the link, connection set-up included: "
    "all of HTTP/2, gRPC and MQTT, without TCP/IP headers."
)
CURVE_NOTE = (
    "The curve of the plot is computed: for every threshold, from the answers that edge-only and "
    "cloud-only gave to the same samples, and the bytes that a call of cloud-only took."
)


def rows(comparison: Comparison) -> list[Row]:
    """The table: a name and a cell a column."""
    measure = "accuracy" if comparison.scenario.labelled else "agreement with the cloud"
    cells = [_cells(measure, column) for column in comparison.columns]
    named = [(name, [cell[name] for cell in cells]) for name in cells[0]]
    return named + _reasons([column.figures for column in comparison.columns])


def _cells(measure: str, column: Column) -> dict[str, str]:
    figures, grpc, mqtt = column.figures, column.grpc, column.mqtt
    return {
        "samples": f"{figures.samples:,}",
        f"{measure}, % [95 % interval]": _accuracy(figures),
        "latency, ms: mean": _milliseconds(column, np.mean),
        "latency, ms: p50": _milliseconds(column, np.median),
        "latency, ms: p99": _milliseconds(column, lambda values: np.quantile(values, 0.99)),
        "gRPC bytes a sample: sent": f"{column.per_sample(grpc.sent):,.0f}",
        "gRPC bytes a sample: received": f"{column.per_sample(grpc.received):,.0f}",
        "MQTT bytes a sample: sent": f"{column.per_sample(mqtt.sent):,.0f}",
        "MQTT bytes a sample: received": f"{column.per_sample(mqtt.received):,.0f}",
        "offloaded, %": f"{100 * figures.offloaded:.1f}",
    }


def _accuracy(figures: Figures) -> str:
    if not figures.verdicts:
        return "-"
    low, high = figures.interval
    return f"{100 * figures.accuracy:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _milliseconds(column: Column, statistic: Callable[[NDArray[np.float64]], Any]) -> str:
    values = column.figures.latency(column.latency_of)
    return f"{statistic(values):.2f}" if len(values) else "-"


def _reasons(figures: Sequence[Figures]) -> list[Row]:
    """A row for each reason that occurs, and their sum."""
    counted = [column.reasons for column in figures]
    found = [reason for reason in Reason if any(counts[reason] for counts in counted)]
    by_reason = [(f"results: {reason}", [f"{counts[reason]:,}" for counts in counted]) for reason in found]
    return [*by_reason, ("results: sum", [f"{counts.total():,}" for counts in counted])]


def markdown_table(comparison: Comparison) -> str:
    """The table in Markdown, aligned so that it reads as it stands."""
    head = ["", *(column.site for column in comparison.columns)]
    body = [[name, *cells] for name, cells in rows(comparison)]
    widths = [max(len(line[place]) for line in [head, *body]) for place in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(line, widths) for line in [head, rule, *body])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *values = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "| " + " | ".join([name, *values]) + " |"


def counted(comparison: Comparison) -> str:
    """What the counts say: one line when all is well, else one for each column that is not."""
    expected = f"{comparison.scenario.samples:,}"
    if miscounts := comparison.miscounts():
        return "Counts do NOT add up: " + "; ".join(miscounts)
    return f"Counts add up: {expected} samples = {expected} results by reason, in each column."


def write_report(path: Path, comparison: Comparison, link: str, profile: Profile, broker: str) -> None:
    """Markdown: the table, the plot beside it, and how it came about."""
    scenario = comparison.scenario
    lines = [
        f"# {scenario.title}: edge-only, hybrid and cloud-only",
        "",
        markdown_table(comparison),
        "",
        f"{counted(comparison)} {CALL_NOTE} {BYTES_NOTE}",
        "",
        kept(comparison),
        "",
        "![Accuracy against bytes a sample](accuracy-bytes.svg)",
        "",
        "## How it came about",
        "",
        *(f"- {line}" for line in _circumstances(comparison, link, profile, broker)),
        *(f"- {note}" for note in scenario.notes),
    ]
    path.write_text("\n".join(lines) + "\n")


def _circumstances(comparison: Comparison, link: str, profile: Profile, broker: str) -> list[str]:
    scenario = comparison.scenario
    devices = len(scenario.streams)
    return [
        f"{3 * devices} node processes at once, {devices} a column; {scenario.rate:g} samples a second each.",
        f"Link `{link}`: {describe(profile)}. Each node has a forward of its own for gRPC and for MQTT.",
        f"Edge: {_model(scenario.edge)}.",
        f"Cloud: {_model(scenario.cloud)}.",
        f"Broker: {broker}. Python {platform.python_version()}, {platform.machine()}; all on one machine.",
        CURVE_NOTE,
        "The interval is Wilson's and takes samples as independent of each other.",
    ]


def _model(directory: Path) -> str:
    """An artifact in words."""
    found = artifact.load(directory)
    manifest, gate = found.manifest, found.manifest.gate
    words = f"{manifest.name} {manifest.version}, {manifest.precision}, {found.model.stat().st_size:,} bytes"
    if gate is None:
        return words
    return f"{words}; trusted from score {gate.threshold:.3f} on, at temperature {gate.temperature:.3f}"


def describe(profile: Profile) -> str:
    """A profile in words."""
    return (
        f"{1e3 * profile.latency:g} ms ± {1e3 * profile.jitter:g} ms one way,"
        f" {profile.up * 8 / 1e6:g} Mbit/s up, {profile.down * 8 / 1e6:g} Mbit/s down"
    )
