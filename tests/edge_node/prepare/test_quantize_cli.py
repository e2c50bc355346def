"""``edge-node prepare quantize`` as a user meets it: its artifact, its words, nothing left where it fails."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_node.selftest import selftest
from protos.artifact import ImageInput, load
from tests.edge_node.prepare import nets
from tests.nodes import COMMAND, LONGEST, Ended, environment, finished

STATIC = ("--method", "static")


@pytest.fixture
def folder(workplace: Path) -> Path:
    """A working directory with a net and its samples."""
    onnx.save(nets.depthwise().onnx(), "net.onnx")
    data = nets.samples()
    np.savez("samples.npz", samples=data.inputs, labels=np.asarray(data.labels))
    return workplace


def quantize(*arguments: str, model: str = "net.onnx", data: str = "samples.npz", **environ: str) -> Ended:
    return finished("prepare", "quantize", model, "--data", data, *arguments, stdin=b"", **environ)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_artifact_runs_and_the_report_says_how_it_was_chosen(folder: Path) -> None:
    ended = quantize("--out", "edge")
    assert ended.code == 0
    packed = load("edge")
    assert packed.manifest.labels == tuple("012345")
    assert selftest(packed).chosen.problem is None
    report = json.loads((folder / "edge" / "report.json").read_text())
    names = [one["name"] for one in report["variants"]]
    assert names[:3] == ["fp32", "static minmax", "static minmax, bias-corrected"]
    assert set(names[3:]) == {"fp16", "weight-only", "dynamic"}
    assert f"chosen: {report['reason']}" in ended.stdout
    assert "_ms" not in (folder / "edge" / "report.json").read_text()
    speed = json.loads((folder / "edge.speed.json").read_text())
    assert speed["variants"]["fp32"]["share_of_fp32"] == 1


def test_two_runs_give_the_same_bytes(folder: Path) -> None:
    for seed in ("1", "2"):
        assert quantize("--out", f"run{seed}/edge", *STATIC, PYTHONHASHSEED=seed).code == 0
        assert quantize("--out", f"run{seed}/edge.zip", *STATIC, PYTHONHASHSEED=seed).code == 0
        (folder / f"run{seed}" / "edge.speed.json").unlink()
    assert tree(folder / "run1") == tree(folder / "run2")


def test_an_archive_holds_the_same_artifact(folder: Path) -> None:
    assert quantize("--out", "edge.zip", *STATIC).code == 0
    assert quantize("--out", "edge", *STATIC).code == 0
    ended = finished("prepare", "extract", "edge.zip", "unpacked")
    assert ended.stdout == "unpacked: net 1, verified\n"
    assert tree(folder / "unpacked") == tree(folder / "edge")
    assert finished("prepare", "archive", "edge", "again.zip").code == 0
    assert (folder / "again.zip").read_bytes() == (folder / "edge.zip").read_bytes()


def test_other_precisions_go_along_for_the_device_to_choose(folder: Path) -> None:
    assert quantize("--out", "edge.zip", "--method", "fp16", "--also", "fp32").code == 0
    assert finished("prepare", "extract", "edge.zip", "edge").code == 0
    report = selftest(load("edge"))
    assert [trial.artifact.manifest.precision for trial in report.trials] == ["fp16", "fp32"]
    assert all(trial.problem is None for trial in report.trials)
    refused = quantize("--out", "other", "--method", "fp16", "--also", "int8")
    assert (refused.code, (folder / "other").exists()) == (2, False)
    assert refused.stderr.endswith("no int8 variant that was tried keeps the budget: it cannot go along\n")


def test_images_go_in_as_they_are(folder: Path) -> None:
    from protos import image

    rng = np.random.default_rng(0)
    for number in range(150):
        label = folder / "images" / f"kind{number % nets.CLASSES}"
        label.mkdir(parents=True, exist_ok=True)
        (label / f"{number}.png").write_bytes(image.encode(rng.integers(0, 256, (20, 24, 3), np.uint8)))
    arguments = ("--mean", "127", "--std", "40,50,60", "--crop", "0.9", "--method", "fp16")
    ended = quantize("--out", "edge", *arguments, data="images")
    assert ended.code == 0, ended.stderr
    manifest = load("edge").manifest
    assert manifest.preprocessing == ImageInput(size=nets.SIDE, crop=0.9)
    assert manifest.signature.input.datatype == "UINT8"
    assert manifest.labels[0] == "kind0"


def _corrupt(folder: Path) -> None:
    (folder / "net.onnx").write_bytes((folder / "net.onnx").read_bytes()[:5000])


def _dynamic(folder: Path) -> None:
    model = onnx.load(folder / "net.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, folder / "net.onnx")


def _unsupported(folder: Path) -> None:
    model = onnx.load(folder / "net.onnx")
    model.graph.node[1].domain, model.graph.node[1].op_type = "com.example", "Frobnicate"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, folder / "net.onnx")


def _with_nan(folder: Path) -> None:
    data = nets.samples()
    data.inputs[17, 0, 0, 0] = np.nan
    np.savez(folder / "samples.npz", samples=data.inputs, labels=np.asarray(data.labels))


def _three(folder: Path) -> None:
    np.savez(folder / "samples.npz", samples=nets.samples(3).inputs)


def _mislabelled(folder: Path) -> None:
    data = nets.samples()
    np.savez(folder / "samples.npz", samples=data.inputs, labels=np.asarray(data.labels) + 1)


def _too_few_names(folder: Path) -> None:
    (folder / "names.txt").write_text("a\nb\n")


@pytest.mark.parametrize(
    ("spoil", "arguments", "problem"),
    [
        (_corrupt, (), "net.onnx is no sound ONNX model: "),
        (
            _dynamic,
            (),
            "net.onnx: input 'x' leaves height open, only the batch may be; fix it with python -m ",
        ),
        (_unsupported, (), "net.onnx cannot be run by onnxruntime: "),
        (_with_nan, (), "1 of 600 samples have NaN or infinite values, first sample 17"),
        (_three, (), "3 samples are too few: a drop of 0.01 shows from 100 on"),
        (_mislabelled, (), "label 6 of sample "),
        (_too_few_names, ("--labels", "names.txt"), "artifact "),
        (_too_few_names, ("--labels", "absent.txt"), "labels absent.txt: "),
        (_too_few_names, ("--mean", "127"), "give both --mean and --std, or neither"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    folder: Path, spoil: Callable[[Path], None], arguments: tuple[str, ...], problem: str
) -> None:
    spoil(folder)
    before = tree(folder)
    ended = quantize("--out", "edge", "--method", "fp16", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    said = [line for line in ended.stderr.splitlines() if not line.startswith("INFO ")]
    assert len(said) == 1
    assert said[0].startswith(f"edge-node: {problem}")
    assert tree(folder) == before


@pytest.mark.parametrize("out", ["edge", "edge.zip"])
@pytest.mark.parametrize(("limit", "problem"), [(20_000, "is the disk full?"), (100_000, "file too large")])
def test_a_full_disk_is_one_line_and_nothing_is_left(
    folder: Path, out: str, limit: int, problem: str
) -> None:
    """A limit on the size of files fails as a full disk does: at the working copy, and at the manifest."""
    (folder / "names.txt").write_text("\n".join(letter * 20_000 for letter in "abcdef"))
    before = tree(folder)
    lower = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    limited = [sys.executable, "-c", lower + "runpy.run_module('edge_node.cli', run_name='__main__')"]
    arguments = ("--data", "samples.npz", "--out", out, "--method", "fp16", "--labels", "names.txt")
    ended = finished("prepare", "quantize", "net.onnx", *arguments, command=limited)
    assert ended.code == 2
    said = [line for line in ended.stderr.splitlines() if not line.startswith("INFO ")]
    assert len(said) == 1
    assert problem in said[0]
    assert tree(folder) == before


def test_an_interrupt_leaves_nothing(folder: Path) -> None:
    before = tree(folder)
    command = [*COMMAND, "prepare", "quantize", "net.onnx", "--data", "samples.npz", "--out", "edge"]
    (folder / "tmp").mkdir()
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment(TMPDIR=str(folder / "tmp"))
    )
    assert running.stderr is not None
    assert "measuring" in running.stderr.readline()
    os.kill(running.pid, signal.SIGINT)
    _, rest = running.communicate(timeout=LONGEST)
    assert running.returncode == 130
    assert [line for line in rest.splitlines() if not line.startswith("INFO ")] == [
        "edge-node: interrupted; nothing was written"
    ]
    assert tree(folder) == before
    assert not any((folder / "tmp").iterdir())


def test_help_needs_nothing_but_what_a_device_has(workplace: Path) -> None:
    blocked = workplace / "blocked"
    blocked.mkdir()
    for name in ("onnx", "torch"):
        (blocked / f"{name}.py").write_text("raise ModuleNotFoundError(name=__name__)")
    path = os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", "")])
    assert finished("prepare", "quantize", "--help", PYTHONPATH=path).code == 0
    (workplace / "samples.npz").touch()
    ended = quantize(PYTHONPATH=path)
    assert (ended.code, ended.stderr) == (
        2,
        "edge-node: onnx is not installed: pip install 'tidegate[prepare]'\n",
    )
