"""Make what the device runs: artifacts, on a workstation."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from edge_node.errors import NodeError
from edge_node.prepare.pack import Facts, PackError, pack
from protos import artifact
from protos.artifact import CloudModel, Gate, Precision
from protos.codec import Tensor


def main(arguments: Sequence[str]) -> None:
    """Parse and run; ``NodeError`` says what was wrong."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (PackError, artifact.ArtifactError) as error:
        raise NodeError(str(error)) from error


def _pack(options: argparse.Namespace) -> None:
    facts = Facts(
        name=options.name or options.model.stem,
        version=options.version,
        precision=options.precision,
        labels=_labels(options.labels),
        gate=Gate(temperature=options.temperature, threshold=options.threshold),
        cloud=_cloud(options.cloud) if options.cloud else None,
    )
    packed = pack(options.out, options.model, facts, _samples(options.samples))
    print(f"{packed.directory}: {facts.name} {facts.version}, {len(packed.vectors[0])} golden vectors")


def _labels(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PackError(f"labels {path}: {error}") from error


def _samples(path: Path) -> Tensor:
    try:
        return np.asarray(np.load(path))
    except (OSError, ValueError) as error:
        raise PackError(f"samples {path}: {error}") from error


def _cloud(model: Path) -> CloudModel:
    """The identity of an artifact, or of a plain ONNX file, which serves under its stem."""
    if model.is_dir():
        found = artifact.load(model)
        return CloudModel(name=found.manifest.name, sha256=found.sha256)
    try:
        return CloudModel(name=model.stem, sha256=artifact.digest(model))
    except OSError as error:
        raise PackError(f"cloud model {model}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-node prepare", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("pack", help="make an artifact of an ONNX classifier")
    command.set_defaults(command=_pack)
    command.add_argument("model", type=Path, metavar="model.onnx", help="one input, one output of logits")
    command.add_argument("out", type=Path, metavar="ARTIFACT_DIR")
    command.add_argument("--labels", type=Path, required=True, help="text file, a label a line")
    command.add_argument(
        "--samples", type=Path, required=True, help=".npy of inputs: golden vectors come of them"
    )
    command.add_argument("--precision", choices=get_args(Precision), required=True, help="of the weights")
    command.add_argument(
        "--threshold", type=float, default=0.8, help="confidence to trust (default: %(default)s)"
    )
    command.add_argument(
        "--temperature", type=float, default=1.0, help="of the softmax (default: %(default)s)"
    )
    command.add_argument(
        "--cloud", type=Path, help="the cloud's artifact or ONNX file, to hold the server to it"
    )
    command.add_argument("--name", help="default: the file's stem")
    command.add_argument("--version", default="1", help="default: %(default)s")
    return parser
