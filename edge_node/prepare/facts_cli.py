"""The options that say what is known about a model beyond its graph."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edge_node.prepare.errors import PrepareError
from edge_node.prepare.pack import Facts
from protos import artifact
from protos.artifact import CloudModel, Gate, Precision


def add(command: argparse.ArgumentParser) -> None:
    """Add them to a command."""
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


def facts(options: argparse.Namespace, precision: Precision, labels: Sequence[str]) -> Facts:
    """What they say; ``options.model`` is the file."""
    return Facts(
        name=options.name or options.model.stem,
        version=options.version,
        precision=precision,
        labels=labels,
        gate=Gate(temperature=options.temperature, threshold=options.threshold),
        cloud=cloud_model(options.cloud) if options.cloud else None,
    )


def labels(path: Path) -> list[str]:
    """A label a line."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrepareError(f"labels {path}: {error}") from error


def cloud_model(model: Path) -> CloudModel:
    """The identity of an artifact, or of a plain ONNX file, which serves under its stem."""
    if model.is_dir():
        found = artifact.load(model)
        return CloudModel(name=found.manifest.name, sha256=found.sha256)
    try:
        return CloudModel(name=model.stem, sha256=artifact.digest(model))
    except OSError as error:
        raise PrepareError(f"cloud model {model}: {error}") from error
