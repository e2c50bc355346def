"""Accuracy against bytes a sample: every threshold as a curve, and what was measured as points."""

from pathlib import Path

from deploy.demo.comparison import Column, Comparison

COLOURS = {"edge-only": "#009e73", "hybrid": "#d55e00", "cloud-only": "#0072b2"}


def write_plot(stem: Path, comparison: Comparison) -> list[Path]:
    """Write `stem`.svg and `stem`.png; gives their paths."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    per_call = {column.site: _grpc_bytes(column) for column in comparison.columns}["cloud-only"]
    axes.plot(
        [per_call * point.offloaded for point in comparison.curve],
        [100 * point.accuracy for point in comparison.curve],
        color="#777777",
        linewidth=1.2,
        label="every threshold (computed)",
    )
    for column in comparison.columns:
        low, high = column.figures.interval
        accuracy = column.figures.accuracy
        axes.errorbar(
            _grpc_bytes(column),
            100 * accuracy,
            yerr=[[100 * max(0.0, accuracy - low)], [100 * max(0.0, high - accuracy)]],
            fmt="o",
            capsize=4,
            color=COLOURS[column.site],
            label=f"{column.site} (measured, 95 %)",
        )
    axes.set_xlabel("gRPC bytes a sample, sent and received")
    axes.set_ylabel("accuracy, %" if comparison.scenario.labelled else "agreement with the cloud, %")
    axes.set_title(comparison.scenario.title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    paths = [stem.with_suffix(suffix) for suffix in (".svg", ".png")]
    for path in paths:
        figure.savefig(path, dpi=150)
    plt.close(figure)
    return paths


def _grpc_bytes(column: Column) -> float:
    return column.per_sample(column.grpc.sent + column.grpc.received)
