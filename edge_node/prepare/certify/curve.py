"""Accuracy and bytes against offload, with the points that matter marked."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.certificate import Certificate
from edge_node.prepare.certify.evidence import Evidence
from edge_node.prepare.certify.tuning import Tuned

SCHEMA = "tidegate.curve/1"
POINTS = 201

Floats = NDArray[np.float64]


def curve(choice: Tuned, cert: Evidence, epsilon: float, certificate: Certificate | None) -> dict[str, Any]:
    """The curve on CERT. Accuracy is agreement with the cloud where there are no labels.

    ``naive``: the loosest threshold that keeps epsilon on these very samples; on others it breaks it in
    about every second case. ``oracle``: what one would send who knew which answers the cloud mends.
    """
    scores = choice.scores(cert.logits)
    order = np.argsort(np.where(np.isnan(scores), -np.inf, scores), kind="stable")
    base = _accuracy(cert, cert.edge)
    hybrid = base + _running(cert.gain[order])
    best = base + _running(np.sort(cert.gain)[::-1])
    sizes = np.ones(len(cert)) if cert.sizes is None else cert.sizes
    sent = _running(sizes[order]) / sizes.mean()
    rows = np.unique(np.linspace(0, len(cert), POINTS).astype(np.int64))

    def mark(deferred: int) -> dict[str, float]:
        figures = {"offload": deferred / len(cert), "accuracy": hybrid[deferred], "bytes": sent[deferred]}
        return {name: float(value) for name, value in figures.items()}

    known = int(np.flatnonzero(best >= best[-1] - epsilon)[0])
    return {
        "schema": SCHEMA,
        "of": "agreement with the cloud" if cert.labels is None else "accuracy",
        "epsilon": epsilon,
        "n": len(cert),
        "edge": base,
        "cloud": float(hybrid[-1]),
        "offload": (rows / len(cert)).tolist(),
        "accuracy": hybrid[rows].tolist(),
        "oracle_accuracy": best[rows].tolist(),
        "bytes": sent[rows].tolist(),
        "points": {
            "certified": mark(_deferred(scores, certificate.threshold)) if certificate else None,
            "naive": mark(_naive(hybrid, epsilon)),
            "oracle": {"offload": known / len(cert), "accuracy": float(best[known])},
        },
    }


def _naive(hybrid: Floats, epsilon: float) -> int:
    return int(np.flatnonzero(hybrid >= hybrid[-1] - epsilon)[0])


def write_plot(path: Path, found: dict[str, Any]) -> None:
    """An SVG, the same for the same curve; ``ModuleNotFoundError`` without matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "tidegate"}):
        figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        _draw(axes, found)
        figure.legend(loc="outside lower center", ncols=3, fontsize="small")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw(axes: Any, found: dict[str, Any]) -> None:
    shares = 100 * np.array(found["offload"])
    axes.plot(shares, 100 * np.array(found["accuracy"]), label="Tidegate")
    axes.plot(
        shares,
        100 * np.array(found["oracle_accuracy"]),
        "--",
        color="#999999",
        label="oracle (knows the truth)",
    )
    axes.axhline(100 * found["cloud"], color="black", linewidth=0.8, label="cloud alone")
    axes.axhline(
        100 * (found["cloud"] - found["epsilon"]),
        color="black",
        linewidth=0.8,
        linestyle=":",
        label="less epsilon",
    )
    marks = {"certified": ("o", "C2"), "naive": ("X", "C3"), "oracle": ("*", "#777777")}
    for name, (shape, colour) in marks.items():
        if point := found["points"][name]:
            axes.plot(
                100 * point["offload"], 100 * point["accuracy"], shape, color=colour, markersize=9, label=name
            )
    axes.set_xlabel("offload, % of samples")
    axes.set_ylabel(f"{found['of']}, %")
    bytes_axis = axes.twinx()
    bytes_axis.plot(shares, 100 * np.array(found["bytes"]), color="C1", linewidth=0.8, label="bytes sent")
    bytes_axis.set_ylabel("bytes, % of cloud-only", color="C1")
    axes.grid(alpha=0.3)


def _running(values: NDArray[Any]) -> Floats:
    """(n + 1,): sums of the first 0, 1, ... n, over n."""
    return np.concatenate([[0.0], np.cumsum(values) / len(values)])


def _deferred(scores: Floats, threshold: float) -> int:
    return int((~(scores >= threshold)).sum())


def _accuracy(cert: Evidence, answers: NDArray[np.int64]) -> float:
    truth = cert.cloud if cert.labels is None else cert.labels
    return float(np.equal(answers, truth).mean())
