"""``edge-node prepare compare`` as a user meets it, and the arithmetic of its columns."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge_node.meters.sensors import rapl
from edge_node.prepare import cli
from edge_node.prepare.compare import Row, Timing, calibration_error, chosen, front, precision_of, quality
from edge_node.prepare.compare_energy import joules_of
from edge_node.prepare.compare_memory import memory_of
from edge_node.prepare.measure import Measures, Share
from edge_node.prepare.pack import Facts, pack
from tests.edge_node.prepare import nets
from tests.nodes import finished

STATIC = [
    f"static minmax{more}" for more in ("", ", bias-corrected", ", equalised", ", equalised, bias-corrected")
]
NAMES = ["fp32", *STATIC, "fp16", "weight-only", "dynamic"]
Report = dict[str, Any]
ALL = Share(1.0, 0.9, 1.0)


@pytest.fixture
def folder(workplace: Path) -> Path:
    """A working directory with a net and its samples."""
    onnx.save(nets.depthwise().onnx(), "net.onnx")
    data = nets.samples(200)
    np.savez("samples.npz", samples=data.inputs, labels=np.asarray(data.labels))
    np.save("plain.npy", data.inputs)
    return workplace


@pytest.fixture
def compare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Run it in this process, which no deadline ends on a busy machine; gives the JSON report."""

    def run(*arguments: str, models: tuple[str, ...] = ("net.onnx",), data: str = "samples.npz") -> Report:
        given = ["compare", *models, "--data", data, "--calibration", "minmax", "--out", "out", *arguments]
        monkeypatch.setattr(sys, "argv", ["edge-node", "prepare", *given])
        cli.main(given)
        found: Report = json.loads((folder / "out" / "compare-net.json").read_text())
        return found

    return run


def test_every_way_is_measured_and_told_three_times(
    compare: Callable[..., Report], capsys: pytest.CaptureFixture[str]
) -> None:
    report = compare("--threads", "2")
    assert [row["name"] for row in report["rows"]] == NAMES
    assert report["samples"] == {"calibration": 40, "measured": 160}
    assert set(report["rows"][0]["timings"]) == {"1", "2"}
    assert report["rows"][0]["measures"]["agreement"]["value"] == 1
    assert all(row["calibration_error"] is not None and row["live"] for row in report["rows"])
    assert f"best: {report['choice']['reason']}" in capsys.readouterr().out
    page = Path("out/compare-net.md").read_text()
    assert "edge-node prepare compare net.onnx --data samples.npz" in page
    assert all(f"| {name} |" in page for name in NAMES)
    assert "(compare-net.svg)" in page
    assert "<svg" in Path("out/compare-net.svg").read_text()
    assert ("not measured here" in page) == (rapl() is None)


def test_an_artifact_joins_as_it_is_and_needs_no_labels(
    compare: Callable[..., Report], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = Facts(name="packed", precision="fp32", labels=tuple("abcdef"))
    pack(folder / "edge", folder / "net.onnx", facts, nets.samples(20).inputs)
    report = compare("--as-is", "--threads", "1", models=("net.onnx", "edge"), data="plain.npy")
    assert [row["name"] for row in report["rows"]] == ["net", "packed"]
    assert report["samples"] == {"calibration": 0, "measured": 200}
    assert report["rows"][1]["measures"]["agreement"]["value"] == 1
    assert report["choice"] is None
    assert capsys.readouterr().out.count("no labels") == 2


def test_without_matplotlib_the_plot_is_left_out_and_that_is_said(folder: Path) -> None:
    missing = 'raise ModuleNotFoundError("No module named matplotlib", name="matplotlib")'
    (folder / "none" / "matplotlib").mkdir(parents=True)
    (folder / "none" / "matplotlib" / "__init__.py").write_text(missing)
    arguments = ("--data", "samples.npz", "--as-is", "--out", "out")
    ended = finished("prepare", "compare", "net.onnx", *arguments, PYTHONPATH=str(folder / "none"))
    assert ended.code == 0
    assert "no plot: matplotlib is not installed" in ended.stdout
    assert sorted(it.name for it in (folder / "out").iterdir()) == ["compare-net.json", "compare-net.md"]
    assert "![" not in (folder / "out" / "compare-net.md").read_text()


@pytest.mark.parametrize(
    ("models", "arguments", "said"),
    [
        (("none.onnx",), (), "none.onnx cannot be read: no such file or directory"),
        (("text.onnx",), (), "text.onnx is no sound ONNX model"),
        (("net.onnx", "net.onnx"), (), "two models are called net: rename a file"),
        (
            ("net.onnx", "other.onnx"),
            (),
            "other takes FP32 (3,) and has 2 classes, net takes FP32 (3, 10, 10)",
        ),
        (("net.onnx",), ("--max-drop", "0"), "--max-drop 0: a share between 0 and 1"),
        (("net.onnx",), ("--threads", "0"), "--threads 0: at least one"),
        (("net.onnx",), ("--max-drop", "0.001"), "200 samples are too few"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    folder: Path, models: tuple[str, ...], arguments: tuple[str, ...], said: str
) -> None:
    (folder / "text.onnx").write_text("no model")
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"])
    onnx.save(nets.model([node], [nets.constant("w", np.ones((3, 2)))], [3], 2), "other.onnx")
    ended = finished("prepare", "compare", *models, "--data", "samples.npz", "--out", "out", *arguments)
    assert ended.code == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (folder / "out").exists()


def test_calibration_error_is_the_gap_of_each_bin_by_its_share() -> None:
    sure, unsure = np.log([0.99, 0.01]), np.log([0.6, 0.4])
    logits = np.array([sure, sure, unsure, unsure], np.float32)
    found = calibration_error(logits, np.array([0, 1, 0, 0]))
    assert found == pytest.approx((2 * (0.99 - 0.5) + 2 * (1 - 0.6)) / 4, abs=1e-6)


def row(name: str, right: float) -> Row:
    measures = Measures(ALL, replace(ALL, value=right), ALL, 0.0)
    return Row(name, "int8", 1, measures, None, None, None, {1: Timing(1, 1, 1)}, None)


def test_the_front_holds_what_nothing_beats() -> None:
    rows = [row("best", 0.9), row("cheap", 0.8), row("beaten", 0.8), row("twin", 0.8)]
    assert front(rows, [3, 1, 2, 1]) == {"best", "cheap", "twin"}


def test_of_static_variants_the_one_closest_to_fp32_is_best_not_the_luckiest() -> None:
    rows = [
        replace(row("fp32", 0.9), precision="fp32"),
        row("static minmax", 0.95),
        row("static entropy", 0.9),
    ]
    rows = [
        replace(it, measures=replace(it.measures, distance=far, drop=Share(0.9 - quality(it), 0, 0)))
        for it, far in zip(rows, (0.0, 0.5, 0.1), strict=True)
    ]
    rows[0] = replace(rows[0], size=4)
    choice = chosen(rows, 0.01)
    assert choice
    assert choice.name == "static entropy"


def test_precision_is_what_the_graph_shows() -> None:
    model = nets.depthwise().onnx()
    assert precision_of(model) == "fp32"
    model.graph.node.add(op_type="DequantizeLinear")
    assert precision_of(model) == "int8"


def test_memory_grows_with_the_weights() -> None:
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"])
    weights = [
        nets.model([node], [nets.constant("w", np.ones((width, 2)))], [width], 2) for width in (8, 5_000_000)
    ]
    small, large = (
        memory_of({"it": it}, np.zeros(it.graph.initializer[0].dims[0], np.float32)) for it in weights
    )
    if not small:
        pytest.skip("this system does not tell the memory of a process")
    assert small["it"].steady < 10e6
    assert large["it"].peak >= large["it"].steady > 0.9 * 2 * 4 * 5_000_000


class Counter:
    """A sensor that gives a joule each time it is read."""

    part = "board"

    def __init__(self) -> None:
        self.read = 0

    def spent(self) -> float:
        self.read += 1
        return float(self.read)


def test_energy_is_shared_among_the_inferences_of_a_round() -> None:
    meter = Counter()
    found = joules_of({"a": nets.depthwise().onnx()}, nets.samples(1).inputs[0], meter, seconds=0.01)
    assert 0 < found["a"] <= 1
    assert meter.read == 6
