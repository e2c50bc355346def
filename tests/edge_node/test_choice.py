"""Several forms of one model in one artifact: the device runs the fastest that agrees."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_node import choice
from edge_node.choice import recall, remember
from edge_node.errors import SelftestFailed
from edge_node.prepare.pack import Facts, PackError, pack
from edge_node.selftest import selftest
from protos import artifact as contract
from protos.artifact import MANIFEST, VECTORS, Artifact, ArtifactError, Gate, load
from tests.models import LABELS, linear, samples, save
from tests.nodes import finished

SLOW = 3000
"""Side of a matrix whose product takes milliseconds where ``linear`` takes microseconds."""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where choices are kept."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


def slow(path: Path) -> Path:
    """The answers of ``linear``, after a product that nobody needs but that cannot be left out."""
    weights = [
        numpy_helper.from_array(np.eye(3, SLOW, dtype=np.float32), "widen"),
        numpy_helper.from_array(np.eye(SLOW, dtype=np.float32), "product"),
        numpy_helper.from_array(np.eye(SLOW, 3, dtype=np.float32), "narrow"),
    ]
    steps = [("x", "widen", "wide"), ("wide", "product", "same"), ("same", "narrow", "logits")]
    nodes = [helper.make_node("MatMul", [left, right], [out]) for left, right, out in steps]
    return save(path, nodes, weights, helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3]), 3)


def forms(folder: Path) -> Artifact:
    """A slow form first, and a fast one as its variant."""
    gate = Gate(threshold=0.8)
    fast = Facts(name="fast", precision="fp32", labels=LABELS, gate=gate)
    pack(folder / "fast", linear(folder / "fast.onnx"), fast, samples())
    both = Facts(name="slow", precision="int8", labels=LABELS, gate=gate, variants={"fp32": folder / "fast"})
    return pack(folder / "both", slow(folder / "slow.onnx"), both, samples())


def test_the_fastest_form_that_agrees_is_chosen(tmp_path: Path) -> None:
    both = forms(tmp_path)
    report = selftest(both, threads=1)
    assert [trial.problem for trial in report.trials] == [None, None]
    assert report.chosen.artifact is both.variants["fp32"]
    assert str(report).splitlines()[-1] == "chosen: fp32, the fastest that agrees"


def test_a_form_that_disagrees_is_refused_however_fast(tmp_path: Path) -> None:
    both = forms(tmp_path)
    lie(both.directory / "fp32")
    rebind(both.directory)
    report = selftest(load(both.directory), threads=1)
    assert report.chosen.artifact.sha256 == both.sha256
    assert "refused, of 16 golden vectors 0 change their top-1 and 16 differ" in str(report)


def test_without_a_form_that_agrees_the_selftest_fails(tmp_path: Path) -> None:
    both = forms(tmp_path)
    lie(both.directory / "fp32")
    rebind(both.directory)
    lie(both.directory)
    with pytest.raises(SelftestFailed, match=r"int8: refused, .*; fp32: refused, "):
        selftest(load(both.directory), threads=1)


def test_the_choice_is_what_runs_from_then_on(tmp_path: Path, state: Path) -> None:
    both = forms(tmp_path)
    assert recall(both) is both
    ended = finished("selftest", both.directory, "--threads", "1", STATE_DIRECTORY=str(state))
    assert ended.stdout.splitlines()[-1].startswith(f"edge-node run will use it: remembered in {state}")
    assert recall(both) is both.variants["fp32"]


def test_a_choice_made_on_another_processor_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = forms(tmp_path)
    assert remember(both, both.variants["fp32"])
    monkeypatch.setattr(choice, "cpu", lambda: "another")
    assert recall(both) is both


def test_a_choice_that_cannot_be_read_or_written_stops_nobody(tmp_path: Path, state: Path) -> None:
    both = forms(tmp_path)
    kept = remember(both, both.variants["fp32"])
    assert kept
    kept.write_text("{")
    assert recall(both) is both
    kept.unlink()
    state.rmdir()
    state.write_text("a file where a folder should be")
    assert remember(both, both) is None


@pytest.mark.parametrize("name", ["..", "/etc", "a/b", ""])
def test_a_variant_stays_within_the_artifact(tmp_path: Path, name: str) -> None:
    both = forms(tmp_path)
    manifest = json.loads((both.directory / MANIFEST).read_text())
    manifest["variants"] = {name: manifest["variants"]["fp32"]}
    (both.directory / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="variants"):
        load(both.directory)


def test_a_changed_variant_is_refused(tmp_path: Path) -> None:
    both = forms(tmp_path)
    lie(both.directory / "fp32")
    with pytest.raises(ArtifactError, match=r"manifest\.json is not the one packed"):
        load(both.directory)


def test_a_variant_of_another_model_is_refused(tmp_path: Path) -> None:
    other = Facts(name="other", precision="fp32", labels=("a", "b", "c"))
    pack(tmp_path / "other", linear(tmp_path / "other.onnx"), other, samples())
    mixed = Facts(name="m", precision="fp32", labels=LABELS, variants={"other": tmp_path / "other"})
    with pytest.raises((ArtifactError, PackError), match="another signature or other labels"):
        pack(tmp_path / "mixed", linear(tmp_path / "m.onnx"), mixed, samples())


def lie(folder: Path) -> None:
    """Golden logits that the model does not give, with digests to match."""
    with np.load(folder / VECTORS) as stored:
        np.savez(folder / VECTORS, inputs=stored["inputs"], logits=stored["logits"] + 1)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][VECTORS] = contract.digest(folder / VECTORS)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def rebind(folder: Path) -> None:
    """Make the artifact name its variant as it is now."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["variants"]["fp32"] = contract.digest(folder / "fp32" / MANIFEST)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
