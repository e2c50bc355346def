"""The proof that this device computes what the artifact's maker saw, and the form that does it fastest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.errors import SelftestFailed
from edge_node.model import EdgeModel, seconds_per_run
from protos.artifact import Artifact, ArtifactError


@dataclass(frozen=True)
class Trial:
    """One form of the model on this device."""

    artifact: Artifact
    difference: float
    """Largest of a logit from its golden vector."""
    threads: int
    seconds: float
    """Median time of one inference."""
    problem: str | None = None
    """Why it must not run here."""

    def __str__(self) -> str:
        precision, tolerance = self.artifact.manifest.precision, self.artifact.manifest.tolerance
        if self.problem:
            return f"{precision}: refused, {self.problem}"
        return (
            f"{precision}: {len(self.artifact.vectors[0])} golden vectors agree, logits within "
            f"{self.difference:.4g} (tolerance {tolerance:.4g}); {self.seconds * 1e3:.3f} ms an inference, "
            f"{self.threads} thread(s)"
        )


@dataclass(frozen=True)
class Report:
    """What became of each form, and which is the one to run."""

    trials: tuple[Trial, ...]
    chosen: Trial

    def __str__(self) -> str:
        lines = [*map(str, self.trials)]
        if len(self.trials) > 1:
            lines.append(f"chosen: {self.chosen.artifact.manifest.precision}, the fastest that agrees")
        return "\n".join(lines)


def selftest(artifact: Artifact, threads: int = 0) -> Report:
    """Replay the golden vectors through every form; ``SelftestFailed`` if none gives them here."""
    trials = tuple(attempt(form, threads) for form in (artifact, *artifact.variants.values()))
    agreeing = [trial for trial in trials if trial.problem is None]
    if not agreeing:
        raise SelftestFailed(f"artifact {artifact.directory}: {'; '.join(map(str, trials))}")
    return Report(trials, min(agreeing, key=lambda trial: trial.seconds))


def attempt(artifact: Artifact, threads: int = 0) -> Trial:
    """One form: does it run, does it agree, how fast is it."""
    try:
        model = EdgeModel(artifact, threads)
    except ArtifactError as error:
        return Trial(artifact, np.inf, threads, np.inf, error.problem)
    inputs, golden = artifact.vectors
    logits = np.stack([model.predict(row) for row in inputs])
    off = np.abs(logits - golden).max(axis=1)
    return Trial(
        artifact=artifact,
        difference=float(off.max()),
        threads=model.threads,
        seconds=seconds_per_run(artifact, model.threads),
        problem=_disagreement(artifact, int((logits.argmax(1) != golden.argmax(1)).sum()), off),
    )


def _disagreement(artifact: Artifact, flipped: int, off: NDArray[np.float32]) -> str | None:
    tolerance = artifact.manifest.tolerance
    beyond = int((~(off <= tolerance)).sum())  # a NaN is beyond
    if not flipped and not beyond:
        return None
    return (
        f"of {len(off)} golden vectors {flipped} change their top-1 and {beyond} differ by more than "
        f"{tolerance:.4g} (up to {off.max():.4g}) on this device"
    )
