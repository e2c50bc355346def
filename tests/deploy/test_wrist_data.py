"""The wrist demo's data and artifacts: what is shown is what was measured, on people nobody trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnxruntime import InferenceSession

from deploy.demo import wrist
from deploy.demo.wrist.data import (
    HELD_OUT,
    LABELS,
    RECORDINGS,
    STRIDE,
    WINDOW,
    Recording,
    halves,
    held_out,
    windows,
)
from edge_node.gate import certificate
from protos import artifact

WRIST = Path(wrist.__file__).parent


def recording(measurements: int, label: int = 0) -> Recording:
    """A signal of which every value says when it was measured."""
    return Recording(np.repeat(np.arange(measurements, dtype=np.float64)[:, None], 6, axis=1), label)


@pytest.mark.parametrize(
    ("measurements", "starts"),
    [(WINDOW - 1, []), (WINDOW, [0]), (WINDOW + STRIDE - 1, [0]), (WINDOW + 2 * STRIDE, [0, 64, 128])],
)
def test_windows_start_every_stride_and_are_whole(measurements: int, starts: list[int]) -> None:
    samples, _ = windows([recording(WINDOW), recording(measurements)])
    assert samples.dtype == np.float16
    assert samples.shape == (1 + len(starts), WINDOW, 6)
    assert samples[1:, 0, 0].tolist() == starts
    assert samples[0].tolist() == recording(WINDOW).signal.tolist()


def test_windows_keep_the_order_of_recordings_and_cross_none() -> None:
    samples, labels = windows([recording(WINDOW + STRIDE, label=5), recording(WINDOW, label=2)])
    assert labels.tolist() == [5, 5, 2]
    assert (np.diff(samples.astype(np.float32), axis=1) == 1).all()


def test_halves_share_no_measurement_and_lose_none() -> None:
    first, second = halves([recording(2 * WINDOW + 1)])
    assert [*first[0].signal[:, 0], *second[0].signal[:, 0]] == list(range(2 * WINDOW + 1))


def test_the_certificate_is_of_these_files() -> None:
    edge = artifact.load(WRIST / "edge")
    found = certificate.load(edge)
    assert found
    assert certificate.verify(found, edge) is None
    assert found.n + found.tune == sum(len(windows(halves(held_out(it))[0])[1]) for it in HELD_OUT)


@pytest.mark.parametrize("subject", HELD_OUT)
def test_each_held_out_person_does_each_exercise_with_either_arm(subject: int) -> None:
    recordings = held_out(subject)
    labels = [label for _, label in recordings]
    assert sorted(labels) == sorted(2 * list(range(len(LABELS))))
    assert all(signal.shape[1:] == (6,) and np.isfinite(signal).all() for signal, _ in recordings)


def test_recordings_are_small_and_say_whose_they_are() -> None:
    assert sum(path.stat().st_size for path in RECORDINGS.iterdir()) < 1_200_000
    notice = (RECORDINGS / "NOTICE").read_text()
    assert "Copyright (c) 2018, David M. Burns" in notice
    assert "Redistributions of source code must retain the above copyright notice" in notice


def test_streams_hold_the_windows_and_their_truth(tmp_path: Path) -> None:
    scenario = wrist.scenario(tmp_path, limit=40)
    for subject, stream in zip(HELD_OUT, scenario.streams, strict=True):
        samples, labels = windows(halves(held_out(subject))[1])
        assert stream.samples == 40
        assert (np.load(stream.source["path"]) == samples[:40]).all()
        assert stream.truth == {str(index): int(label) for index, label in enumerate(labels[:40])}


def test_the_two_models_belong_together_and_are_small() -> None:
    edge, cloud = artifact.load(WRIST / "edge"), artifact.load(WRIST / "cloud")
    assert edge.manifest.cloud is not None
    assert (edge.manifest.cloud.name, edge.manifest.cloud.sha256) == (cloud.manifest.name, cloud.sha256)
    assert edge.manifest.signature == cloud.manifest.signature
    assert edge.manifest.labels == cloud.manifest.labels == LABELS
    assert (edge.manifest.precision, cloud.manifest.precision) == ("int8", "fp32")
    assert cloud.model.stat().st_size < 2_000_000
    for model in (edge, cloud):
        assert set(model.vectors[1].argmax(1)) == set(range(len(LABELS))), "a class without a golden vector"


@pytest.mark.parametrize(("model", "figure"), [("edge", "edge int8"), ("cloud", "cloud")])
def test_reports_are_what_the_shipped_models_give(model: str, figure: str) -> None:
    folder = WRIST / model
    reported = json.loads((folder / artifact.REPORT).read_text())["held out"]
    session = InferenceSession(folder / artifact.MODEL, providers=["CPUExecutionProvider"])
    for subject in HELD_OUT:
        samples, labels = windows(held_out(subject))
        right = (session.run(None, {"window": samples})[0].argmax(1) == labels).mean()
        # int8 kernels differ a little from CPU to CPU
        assert right == pytest.approx(reported[f"subject {subject}"][figure], abs=0.01)
