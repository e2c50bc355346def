"""The golden vectors, replayed on this machine."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_node.errors import SelftestFailed
from edge_node.selftest import selftest
from protos import artifact as contract
from protos.artifact import MANIFEST, VECTORS, Artifact, load
from protos.codec import Tensor
from tests.nodes import finished


@pytest.fixture
def folder(artifact: Artifact, tmp_path: Path) -> Path:
    """An artifact to falsify."""
    shutil.copytree(artifact.directory, tmp_path / "copy")
    return tmp_path / "copy"


def falsify(folder: Path, change: Callable[[Tensor], object], tolerance: float | None = None) -> Artifact:
    """Golden logits changed, and the digests to match."""
    inputs, logits = load(folder).vectors
    change(logits)
    np.savez(folder / VECTORS, inputs=inputs, logits=logits)
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    manifest["files"][VECTORS] = contract.digest(folder / VECTORS)
    manifest["tolerance"] = manifest["tolerance"] if tolerance is None else tolerance
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return load(folder)


def nudge(logits: Tensor) -> None:
    logits[0] += 0.01


def flip(logits: Tensor) -> None:
    logits[0] = logits[0][::-1]


def test_a_device_that_reproduces_the_vectors_passes(artifact: Artifact) -> None:
    report = selftest(artifact)
    assert report.chosen.artifact is artifact
    assert report.chosen.difference <= artifact.manifest.tolerance
    assert report.chosen.seconds > 0
    assert str(report).startswith("fp32: 16 golden vectors agree, logits within 0 (tolerance ")


def test_logits_beyond_the_tolerance_fail(folder: Path) -> None:
    with pytest.raises(SelftestFailed) as caught:
        selftest(falsify(folder, nudge))
    assert str(caught.value) == (
        f"artifact {folder}: fp32: refused, of 16 golden vectors 0 change their top-1 and 1 differ "
        "by more than 0.0006 (up to 0.01) on this device"
    )


def test_a_tolerance_makes_room_for_other_kernels(folder: Path) -> None:
    chosen = selftest(falsify(folder, nudge, tolerance=0.02)).chosen
    assert chosen.difference == pytest.approx(0.01, abs=1e-5)


def test_another_top_class_fails_whatever_the_tolerance(folder: Path) -> None:
    with pytest.raises(SelftestFailed, match="1 change their top-1 and 0 differ"):
        selftest(falsify(folder, flip, tolerance=100))


def test_golden_logits_that_are_nan_fail(folder: Path) -> None:
    with pytest.raises(SelftestFailed, match="1 differ by more than"):
        selftest(falsify(folder, lambda logits: logits[0].fill(np.nan)))


def test_the_command_prints_the_proof_and_the_latency(artifact: Artifact) -> None:
    ended = finished("selftest", artifact.directory, "--threads", "1")
    assert (ended.code, ended.stderr) == (0, "")
    (proof,) = ended.stdout.splitlines()
    assert proof.startswith("fp32: 16 golden vectors agree, ")
    assert proof.endswith(" ms an inference, 1 thread(s)")


def test_the_command_fails_with_its_own_exit_code(folder: Path) -> None:
    falsify(folder, nudge)
    ended = finished("selftest", folder)
    assert (ended.code, ended.stdout) == (4, "")
    assert ended.stderr.startswith(f"edge-node: artifact {folder}: fp32: refused, of 16 golden vectors")
