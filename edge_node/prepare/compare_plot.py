"""Accuracy against time and against size, with what nothing beats."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_node.prepare.compare import Row, quality
from edge_node.prepare.compare_report import fronts

_MARKS = {"fp32": "s", "fp16": "D", "int8": "o"}


def write_plot(path: Path, rows: Sequence[Row], title: str) -> None:
    """An SVG, the same for the same rows; ``ModuleNotFoundError`` without matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "tidegate"}):
        figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
        unit = 1e6 if max(row.size for row in rows) > 1e6 else 1e3
        costs = ([row.timings[1].share for row in rows], [row.size / unit for row in rows])
        for axes, cost, on in zip(panels, costs, fronts(rows), strict=True):
            _panel(axes, rows, cost, on)
        panels[0].set_xlabel("time of one inference at 1 thread, share of the first's")
        panels[1].set_xlabel("file, MB" if unit > 1e3 else "file, kB")
        labelled = rows[0].measures.accuracy is not None
        panels[0].set_ylabel("top-1, % (bars: 95 %)" if labelled else "agreement with the first, %")
        figure.suptitle(title)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _panel(axes: Any, rows: Sequence[Row], costs: Sequence[float], on: set[str]) -> None:
    for number, (row, cost) in enumerate(zip(rows, costs, strict=True)):
        share = row.measures.accuracy or row.measures.agreement
        axes.errorbar(
            cost,
            100 * share.value,
            yerr=[[100 * max(0.0, share.value - share.low)], [100 * max(0.0, share.high - share.value)]],
            fmt=_MARKS[row.precision],
            color=f"C{number % 10}",
            markerfacecolor=f"C{number % 10}" if row.name in on else "white",
            elinewidth=0.6,
            label=row.name,
        )
    best = sorted((cost, 100 * quality(row)) for row, cost in zip(rows, costs, strict=True) if row.name in on)
    axes.step(*zip(*best, strict=True), where="post", color="#777777", label="Pareto front (filled)")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
