"""The command ``edge-node prepare quantize``; loads onnx only when it is used."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edge_node.prepare import facts_cli
from edge_node.prepare.archive import archive
from edge_node.prepare.errors import PrepareError
from protos import artifact
from protos.artifact import Precision

if TYPE_CHECKING:
    from onnx import ModelProto

    from edge_node.prepare.quantized import Quantized
    from edge_node.prepare.readers import Found

_ZIP = ".zip"


def add(commands: Any) -> None:
    """Add the command to ``edge-node prepare``."""
    command = commands.add_parser(
        "quantize",
        help="the int8 artifact of an fp32 ONNX classifier, proven against it",
        description="Tries the ways to quantise a classifier, measures each against the fp32 model, "
        "and packs the fastest that keeps the accuracy budget.",
    )
    command.set_defaults(command=_quantize)
    command.add_argument(
        "model", type=Path, metavar="model.onnx", help="fp32: one input, one output of logits"
    )
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="SAMPLES",
        help="folder of images (or of one a class), CSV of file,class, CSV of a window a row, .npy, "
        "or .npz of samples and labels: a fifth calibrates, the rest measures",
    )
    command.add_argument(
        "--out", type=Path, help="ARTIFACT_DIR, or a file.zip (default: the model's stem-edge)"
    )
    command.add_argument("--labels", type=Path, help="names of the classes: text file, a label a line")
    command.add_argument(
        "--max-drop", type=float, default=0.01, help="accuracy to lose at most (default: %(default)s)"
    )
    choices = {
        "target": ("x86-vnni", "x86-avx2", "arm64"),
        "method": ("static", "dynamic", "weight-only", "fp16"),
        "calibration": ("minmax", "percentile", "entropy"),
    }
    for name, values in choices.items():
        command.add_argument(f"--{name}", choices=("auto", *values), default="auto")
    for name in ("mean", "std"):
        command.add_argument(
            f"--{name}",
            type=_numbers,
            help=f"{name} of the pixels, one or three numbers 0..255: build it into the model",
        )
    command.add_argument(
        "--crop", type=float, default=1.0, help="share of an image's shorter side (default: all)"
    )
    command.add_argument(
        "--also",
        nargs="+",
        choices=get_args(Precision),
        default=(),
        help="precisions to send along: edge-node selftest runs the fastest that agrees on the device",
    )
    facts_cli.add(command)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _quantize(options: argparse.Namespace) -> str:
    from edge_node.prepare.quantize import quantize
    from edge_node.prepare.table import table

    model = _model(options)
    found = _found(options, model)
    made = quantize(
        model,
        found.samples,
        max_drop=options.max_drop,
        target=options.target,
        method=options.method,
        ranges=options.calibration,
    )
    out = options.out or Path(f"{options.model.stem}-edge")
    _write(options, made, found, out)
    return f"{table(made.report, made.speed)}\n{out}: {made.precision}"


def _model(options: argparse.Namespace) -> "ModelProto":
    from edge_node.prepare import graph

    if (options.mean is None) != (options.std is None):
        raise PrepareError("give both --mean and --std, or neither")
    model = graph.load(options.model)
    return model if options.mean is None else graph.take_pixels(model, options.mean, options.std)


def _found(options: argparse.Namespace, model: "ModelProto") -> "Found":
    from edge_node.prepare.graph import signature
    from edge_node.prepare.readers import Expected, read

    said = signature(model, str(options.model))
    names = facts_cli.labels(options.labels) if options.labels else None
    found = read(options.data, Expected(said.input, said.output.shape[1], names, options.crop))
    return replace(
        found, names=names or found.names or [str(number) for number in range(said.output.shape[1])]
    )


def _write(options: argparse.Namespace, made: "Quantized", found: "Found", out: Path) -> None:
    """The artifact, and beside it this machine's times: they are not the same on every run."""
    facts = facts_cli.facts(options, made.precision, found.names or ())
    if found.image:
        facts = replace(facts, preprocessing=found.image)
    if out.suffix == _ZIP:
        with tempfile.TemporaryDirectory() as scratch:
            archive(made.pack(Path(scratch) / out.stem, facts, options.also).directory, out)
    else:
        made.pack(out, facts, options.also)
    if made.speed:
        out.with_name(f"{out.name.removesuffix(_ZIP)}.speed.json").write_bytes(
            artifact.encode_report(made.speed)
        )
