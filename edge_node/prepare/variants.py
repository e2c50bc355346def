"""The ways of the field to make a float model smaller, by their names."""

import io
import logging
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Literal

import onnx

from edge_node.prepare import bias
from edge_node.prepare.channels import Channels
from edge_node.prepare.errors import GraphError
from edge_node.prepare.graph import first_line
from edge_node.prepare.qdq import float_activations, float_logits, hold_float, lean
from edge_node.prepare.targets import Target
from protos.artifact import Precision
from protos.codec import Tensor

Method = Literal["fp16", "dynamic", "weight-only", "static"]
Calibration = Literal["minmax", "percentile", "entropy"]

PRECISION: dict[Method, Precision] = {
    "fp16": "fp16",
    "dynamic": "int8",
    "weight-only": "int8",
    "static": "int8",
}
_STRIDE = 8
"""Samples whose activations are held in memory at a time; the number that calibrate is a multiple."""
_PERCENTILE = 99.99
"""Gave the best agreement on EfficientNet-Lite0; the library's 99.999 is nearly MinMax."""


class Reader:
    """Samples in the pull style of onnxruntime's ``CalibrationDataReader``, one a batch."""

    def __init__(self, name: str, inputs: Tensor) -> None:
        self._name = name
        self._inputs = inputs
        self.set_range(0, len(inputs))

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.get_next, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Read these from now on."""
        self._rows = iter(self._inputs[start_index:end_index])

    def get_next(self) -> dict[str, Tensor] | None:
        """The next feed; none when all are read."""
        row = next(self._rows, None)
        return None if row is None else {self._name: row[None]}


def fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in 16-bit floats; inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with _library():
        half: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    OnnxModel.graph_topological_sort(half.graph, is_deterministic=True)  # its casts are at the end
    return half


def dynamic(model: onnx.ModelProto, target: Target) -> onnx.ModelProto:
    """int8 weights; activations are quantised as they come, by ranges taken at each inference."""
    from onnxruntime import quantization as q

    with _files(model) as (source, path):
        q.quantize_dynamic(
            source, path, per_channel=True, reduce_range=target.reduce_range, weight_type=q.QuantType.QInt8
        )
        return onnx.load(path)


class Static:
    """Weights and activations in int8: QDQ, by channel. Ranges are calibrated once and then kept."""

    def __init__(self, folder: Path, model: onnx.ModelProto, target: Target, calibration: Tensor) -> None:
        """``folder`` keeps the ranges; ``calibration``: (n, ...) inputs, n a multiple of 8."""
        folder.mkdir(exist_ok=True)
        self.model = model
        self._folder = folder
        self._target = target
        self._inputs = calibration

    def quantize(
        self,
        ranges: Calibration,
        floats: Collection[str] = (),
        only: Collection[str] = (),
        *,
        corrected: bool = False,
    ) -> onnx.ModelProto:
        """All layers but ``floats``, or only ``only``; the logits stay float: int8 scores tie.

        ``corrected``: with biases that make up for the mean error of the rounded weights.
        """
        quantized = self._quantize(self.model, ranges, floats, only)
        if corrected:
            model = bias.correct(self.model, quantized, self._means)
            quantized = self._quantize(model, ranges, floats, only)
        return float_logits(quantized)

    @cached_property
    def _means(self) -> Channels:
        return bias.input_means(self.model, self._inputs)

    def weight_only(self, ranges: Calibration) -> onnx.ModelProto:
        """Weights stored in int8, arithmetic in float: a smaller file, no faster."""
        return float_activations(self._quantize(self.model, ranges, keep_activations=True))

    def _quantize(
        self,
        model: onnx.ModelProto,
        ranges: Calibration,
        floats: Collection[str] = (),
        only: Collection[str] = (),
        *,
        keep_activations: bool = False,
    ) -> onnx.ModelProto:
        from onnxruntime import quantization as q

        types = {"uint8": q.QuantType.QUInt8, "int8": q.QuantType.QInt8}
        with _files(model) as (source, path):
            q.quantize_static(
                source,
                path,
                Reader(model.graph.input[0].name, self._inputs),
                per_channel=True,
                reduce_range=self._target.reduce_range,
                activation_type=types[self._target.activations],
                weight_type=q.QuantType.QInt8,
                nodes_to_exclude=sorted(floats),
                nodes_to_quantize=sorted(only),
                calibrate_method=q.CalibrationMethod[
                    {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}[ranges]
                ],
                calibration_cache_path=self._folder / f"{ranges}.json",
                extra_options={
                    "CalibStridedMinMax": _STRIDE,
                    "CalibPercentile": _PERCENTILE,
                    "QDQKeepRemovableActivations": keep_activations,
                },
            )
            return hold_float(lean(onnx.load(path)), floats)


@contextmanager
def _files(model: onnx.ModelProto) -> Iterator[tuple[Path, Path]]:
    """(the model, where to write): the library would turn a model in memory into one with external data."""
    with tempfile.TemporaryDirectory() as folder, _library():
        source = Path(folder) / "in.onnx"
        onnx.save(model, source)
        yield source, Path(folder) / "out.onnx"


@contextmanager
def _library() -> Iterator[None]:
    """The library logs advice that is taken already, prints, and raises anything for what it cannot do."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except OSError:
        raise
    except Exception as error:
        raise GraphError(f"onnxruntime cannot quantise the model: {first_line(error)}") from error
    finally:
        logging.disable(before)
