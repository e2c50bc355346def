"""A comparison for a person, at a terminal or as Markdown, and for a program."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_node.prepare.compare import Row, chosen, front
from edge_node.prepare.footprint_cli import size
from edge_node.prepare.measure import Share

SCHEMA = "tidegate.compare/1"
MISSING = "not measured here"
_LEGEND = """\
Brackets hold 95 %. Agreement: same top-1 as the first row. ECE: expected calibration error, 15 bins,
temperature 1. Memory: what the model adds to a process at its peak, loading included. Live set: the largest
sum of tensors alive at once, computed. Front: nothing is at least as right and cheaper."""
_CPUINFO = Path("/proc/cpuinfo")


def report_of(rows: Sequence[Row], facts: Mapping[str, Any], max_drop: float) -> dict[str, Any]:
    """For a program. ``facts``: what was compared on which data, and the command."""
    import onnxruntime

    choice = chosen(rows, max_drop)
    return {
        "schema": SCHEMA,
        **facts,
        "machine": machine(),
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "max_drop": max_drop,
        "choice": asdict(choice) if choice else None,
        "pareto": {"time": sorted(fronts(rows)[0]), "size": sorted(fronts(rows)[1])},
        "rows": [
            {**asdict(row), "timings": {n: asdict(it) for n, it in row.timings.items()}} for row in rows
        ],
    }


def fronts(rows: Sequence[Row]) -> tuple[set[str], set[str]]:
    """Names on the Pareto front of time at one thread, and on that of file size."""
    return front(rows, [row.timings[1].share for row in rows]), front(rows, [row.size for row in rows])


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """A head, then a line a row."""
    by_time, by_size = fronts(rows)
    heads = [f"p50 / p99, ms, {count} thread{'s' * (count > 1)}" for count in rows[0].timings]
    head = [
        "",
        "top-1, %",
        "agree, %",
        "ECE",
        "file",
        "memory",
        "live set",
        *heads,
        "energy",
        "on the front of",
    ]
    return [head, *([*_facts(row), *_costs(row, rows[0]), _on(row, by_time, by_size)] for row in rows)]


def _facts(row: Row) -> list[str]:
    return [
        row.name,
        _interval(row.measures.accuracy) if row.measures.accuracy else "no labels",
        _interval(row.measures.agreement),
        "" if row.calibration_error is None else f"{row.calibration_error:.3f}",
    ]


def _costs(row: Row, first: Row) -> list[str]:
    return [
        size(row.size),
        size(row.memory.peak) if row.memory else MISSING,
        size(row.live) if row.live else "not known",
        *(_time(row, count, first=row is first) for count in row.timings),
        MISSING if row.joules is None else f"{1e3 * row.joules:.3g} mJ",
    ]


def _on(row: Row, by_time: set[str], by_size: set[str]) -> str:
    return ", ".join(name for name, on in (("time", by_time), ("size", by_size)) if row.name in on)


def terminal(rows: Sequence[Row], max_drop: float) -> str:
    """Columns, and the choice."""
    table = cells(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    choice = chosen(rows, max_drop)
    return "\n".join([*lines, *([f"best: {choice.reason}"] if choice else [])])


def markdown(rows: Sequence[Row], report: Mapping[str, Any], figure: str | None) -> str:
    """A page: the command, the table, how to read it, the figure."""
    head, *lines = cells(rows)
    table = ["| " + " | ".join(line) + " |" for line in (head, ["---"] + ["---:"] * (len(head) - 1), *lines)]
    page = [
        f"# {', '.join(report['models'])}",
        f"```sh\n{report['command']}\n```",
        _conditions(report),
        "\n".join(table),
        *([f"Best: {report['choice']['reason']}."] if report["choice"] else []),
        *([f"![Accuracy against time and size]({figure})"] if figure else []),
        _LEGEND,
    ]
    return "\n\n".join(page) + "\n"


def _conditions(report: Mapping[str, Any]) -> str:
    used = report["samples"]
    calibrated = f", {used['calibration']} others calibrated" if used["calibration"] else ""
    return (
        f"{used['measured']} samples{calibrated}. {report['machine']}, {report['cores']} cores; "
        f"onnxruntime {report['onnxruntime']}. All models took turns: look at the ratios, "
        "the times are another machine's tomorrow."
    )


def machine() -> str:
    """What kind of processor this is."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _interval(share: Share) -> str:
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _time(row: Row, threads: int, *, first: bool) -> str:
    it = row.timings[threads]
    share = "" if first else f" ({it.share:.2f} x)"
    return f"{1e3 * it.p50:.3g} / {1e3 * it.p99:.3g}{share}"
