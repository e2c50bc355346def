"""The commands ``edge-node prepare pack``, ``archive`` and ``extract``."""

import argparse
from pathlib import Path
from typing import Any, get_args

import numpy as np

from edge_node.prepare import facts_cli
from edge_node.prepare.archive import archive, extract
from edge_node.prepare.errors import PrepareError
from edge_node.prepare.pack import pack
from protos.artifact import Precision
from protos.codec import Tensor


def add(commands: Any) -> None:
    """Add the commands to ``edge-node prepare``."""
    packing = commands.add_parser("pack", help="make an artifact of an ONNX classifier")
    packing.set_defaults(command=_pack)
    packing.add_argument("model", type=Path, metavar="model.onnx", help="one input, one output of logits")
    packing.add_argument("out", type=Path, metavar="ARTIFACT_DIR")
    packing.add_argument("--labels", type=Path, required=True, help="text file, a label a line")
    packing.add_argument(
        "--samples", type=Path, required=True, help=".npy of inputs: golden vectors come of them"
    )
    packing.add_argument("--precision", choices=get_args(Precision), required=True, help="of the weights")
    facts_cli.add(packing)

    archiving = commands.add_parser("archive", help="an artifact as one zip file: same artifact, same bytes")
    archiving.set_defaults(command=_archive)
    archiving.add_argument("artifact", type=Path, metavar="ARTIFACT_DIR")
    archiving.add_argument("out", type=Path, metavar="OUT.zip")

    extracting = commands.add_parser("extract", help="unpack and verify an archived artifact")
    extracting.set_defaults(command=_extract)
    extracting.add_argument("archive", type=Path, metavar="IN.zip")
    extracting.add_argument("out", type=Path, metavar="ARTIFACT_DIR")


def _pack(options: argparse.Namespace) -> str:
    facts = facts_cli.facts(options, options.precision, facts_cli.labels(options.labels))
    packed = pack(options.out, options.model, facts, _samples(options.samples))
    return f"{packed.directory}: {facts.name} {facts.version}, {len(packed.vectors[0])} golden vectors"


def _archive(options: argparse.Namespace) -> str:
    archive(options.artifact, options.out)
    return f"{options.out}: {options.out.stat().st_size} bytes"


def _extract(options: argparse.Namespace) -> str:
    found = extract(options.archive, options.out).manifest
    return f"{options.out}: {found.name} {found.version}, verified"


def _samples(path: Path) -> Tensor:
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError) as error:
        raise PrepareError(f"samples {path}: {error}") from error
