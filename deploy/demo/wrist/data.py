"""Wrist motion: ten people, seven shoulder exercises, a watch on the wrist (seglearn's watch data set)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LABELS = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
"""PEN, ABD, FEL, IR, ER, TRAP and ROW of the data set, in its order."""

HELD_OUT = (1, 2, 3)
"""Subjects of the demo: the first three, chosen before anything was trained; no training sees them."""

WINDOW, STRIDE = 128, 64
"""Measurements a sample (2.56 s at 50 Hz), and from the start of one sample to the next."""

RECORDINGS = Path(__file__).parent / "recordings"


class Recording(NamedTuple):
    """One exercise of one person, uninterrupted."""

    signal: NDArray[np.floating]
    """(time, 6): acceleration in g and rotation in rad/s, three axes each, at 50 Hz."""
    label: int


def windows(recordings: list[Recording]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Samples (n, 128, 6) in the order they were recorded, and the label of each (n,)."""
    cut = [
        (recording.signal[start : start + WINDOW], recording.label)
        for recording in recordings
        for start in range(0, len(recording.signal) - WINDOW + 1, STRIDE)
    ]
    return np.stack([signal for signal, _ in cut]).astype(np.float16), np.array([label for _, label in cut])


def held_out(subject: int) -> list[Recording]:
    """Recordings of one of the ``HELD_OUT``, as they are shipped with the demo."""
    with np.load(RECORDINGS / f"subject-{subject}.npz") as stored:
        signals = np.split(stored["signal"], stored["ends"][:-1])
        return [
            Recording(signal, int(label)) for signal, label in zip(signals, stored["labels"], strict=True)
        ]


def halves(recordings: list[Recording]) -> tuple[list[Recording], list[Recording]]:
    """The first half of each recording, and the second: no window is in both."""
    middle = [len(recording.signal) // 2 for recording in recordings]
    first = [Recording(it.signal[:at], it.label) for it, at in zip(recordings, middle, strict=True)]
    return first, [Recording(it.signal[at:], it.label) for it, at in zip(recordings, middle, strict=True)]


def save(subject: int, recordings: list[Recording]) -> None:
    """Ship the recordings of a subject: half precision, which is also what travels to the cloud."""
    np.savez_compressed(
        RECORDINGS / f"subject-{subject}.npz",
        signal=np.concatenate([recording.signal for recording in recordings]).astype(np.float16),
        ends=np.cumsum([len(recording.signal) for recording in recordings]),
        labels=np.array([recording.label for recording in recordings], np.int8),
    )
