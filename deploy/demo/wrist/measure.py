"""How good the models are on the people whom no training has seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from torch import nn

from deploy.demo.wrist import data
from deploy.demo.wrist.data import HELD_OUT, Recording
from protos.artifact import Gate

NAMES = ("edge int8", "edge fp32", "hybrid", "cloud", "deferred", "cloud over edge int8")
DRAWS = 10_000
"""Of the bootstrap."""
INTERVAL = (2.5, 97.5)

Logits = NDArray[np.float32]
Scores = NDArray[np.int64]
"""(windows, ``NAMES``): 1 where right, or deferred; the last is the difference of two others."""


def held_out(models: dict[str, Path], gate: Gate) -> dict[str, Any]:
    """Each person's shares, and all together with 95 % intervals; models by name: edge-int8 and so on."""
    sessions = {
        name: InferenceSession(path, providers=["CPUExecutionProvider"]) for name, path in models.items()
    }
    scores = {who: [_scores(sessions, gate, it) for it in data.held_out(who)] for who in HELD_OUT}
    everything = [score for own in scores.values() for score in own]
    return {
        **{f"subject {who}": rounded(_shares(np.concatenate(own))) for who, own in scores.items()},
        "all": _intervals(everything),
        "interval": f"95 %, bootstrap over the {len(everything)} recordings: windows of one are much alike",
        "samples": sum(map(len, everything)),
    }


def seeds(networks: Sequence[nn.Module]) -> dict[str, Any]:
    """Accuracy of one fp32 network a seed, the first of seed 0: how much of a figure is luck."""
    samples, truth = data.windows([it for who in HELD_OUT for it in data.held_out(who)])
    with torch.no_grad():
        answers = [network(torch.from_numpy(samples)).argmax(1).numpy() for network in networks]
    each = [float((answer == truth).mean()) for answer in answers]
    deviation = float(np.std(each, ddof=1))
    return {
        **rounded({"mean": float(np.mean(each)), "deviation": deviation}),
        "each": [round(it, 4) for it in each],
    }


def softmax(logits: Logits) -> Logits:
    """Rows that sum to 1."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: Logits = powers / powers.sum(1, keepdims=True)
    return probabilities


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """To a hundredth of a percent."""
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def _scores(sessions: dict[str, InferenceSession], gate: Gate, recording: Recording) -> Scores:
    samples, truth = data.windows([recording])
    logits = {name: session.run(None, {"window": samples})[0] for name, session in sessions.items()}
    small, floating, large = (logits[it].argmax(1) == truth for it in ("edge-int8", "edge-fp32", "cloud"))
    deferred = softmax(logits["edge-int8"] / gate.temperature).max(1) < gate.threshold
    columns = [small, floating, np.where(deferred, large, small), large, deferred]
    return np.column_stack([*columns, large.astype(int) - small]).astype(np.int64)


def _shares(scores: Scores) -> dict[str, float]:
    return dict(zip(NAMES, scores.mean(0), strict=True))


def _intervals(recordings: list[Scores]) -> dict[str, Any]:
    sums = np.stack([scores.sum(0) for scores in recordings])
    counts = np.array([len(scores) for scores in recordings])
    drawn = np.random.default_rng(0).integers(len(recordings), size=(DRAWS, len(recordings)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1)[:, None], INTERVAL, axis=0).round(4)
    shares = rounded(_shares(np.concatenate(recordings)))
    return {
        name: {"share": share, "interval": [float(a), float(b)]}
        for (name, share), a, b in zip(shares.items(), low, high, strict=True)
    }
