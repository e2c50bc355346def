"""Wrist motion: each node replays the second halves of the recordings of one person.

Neither model has seen that person; the first halves are what the certificate was made with.
"""

from pathlib import Path

import numpy as np

from deploy.demo.scenario import Scenario, Stream
from deploy.demo.wrist.data import HELD_OUT, halves, held_out, windows

HERE = Path(__file__).parent
RATE = 20.0
"""Samples a second and device. A watch gives one in 1.28 s; the demo is in more of a hurry."""


def scenario(run_dir: Path, limit: int | None = None) -> Scenario:
    """The held-out subjects, their later windows written to ``run_dir``; ``limit`` samples each at most."""
    return Scenario(
        name="wrist",
        title="Wrist motion: seven exercises, three people whom the models have not seen",
        edge=HERE / "edge",
        cloud=HERE / "cloud",
        streams=tuple(_stream(run_dir, subject, limit) for subject in HELD_OUT),
        rate=RATE,
        notes=(
            "Data: the watch data set of seglearn (BSD-3-Clause). Training and choice of models: report.json",
            "The certificate was made with the first half of each recording, the demo shows the second.",
            "Samples overlap by half, and are three people's: read the intervals as too narrow.",
        ),
    )


def _stream(run_dir: Path, subject: int, limit: int | None) -> Stream:
    _certified, later = halves(held_out(subject))
    samples, labels = windows(later)
    path = (run_dir / f"subject-{subject}.npy").absolute()
    np.save(path, samples[:limit])
    truth = {str(index): int(label) for index, label in enumerate(labels[:limit])}
    return Stream(f"subject-{subject}", {"kind": "array", "path": str(path)}, len(truth), truth)
