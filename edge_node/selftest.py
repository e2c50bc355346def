"""The proof that this device computes what the artifact's maker saw, and how fast."""

from dataclasses import dataclass

import numpy as np

from edge_node.errors import SelftestFailed
from edge_node.model import EdgeModel, seconds_per_run
from protos.artifact import Artifact


@dataclass(frozen=True)
class Report:
    """What a replay of the golden vectors showed."""

    vectors: int
    largest_difference: float
    """Of a logit, over all vectors."""
    tolerance: float
    threads: int
    seconds: float
    """Median time of one inference on this device."""

    def __str__(self) -> str:
        return (
            f"{self.vectors} golden vectors agree: same top-1, logits within {self.largest_difference:.4g} "
            f"(tolerance {self.tolerance:.4g})\n"
            f"one inference takes {self.seconds * 1e3:.3f} ms here, with {self.threads} thread(s)"
        )


def selftest(artifact: Artifact, threads: int = 0) -> Report:
    """Replay the golden vectors; ``SelftestFailed`` says how many and how far off."""
    model = EdgeModel(artifact, threads)
    inputs, golden = artifact.vectors
    logits = np.stack([model.predict(row) for row in inputs])
    off = np.abs(logits - golden).max(axis=1)
    tolerance = artifact.manifest.tolerance
    flipped = int((logits.argmax(axis=1) != golden.argmax(axis=1)).sum())
    beyond = int((~(off <= tolerance)).sum())  # a NaN is beyond
    if flipped or beyond:
        raise SelftestFailed(
            f"artifact {artifact.directory}: of {len(inputs)} golden vectors {flipped} change their top-1 "
            f"and {beyond} differ by more than {tolerance:.4g} (up to {off.max():.4g}) on this device"
        )
    return Report(
        len(inputs), float(off.max()), tolerance, model.threads, seconds_per_run(artifact, model.threads)
    )
