"""The command ``edge-node prepare footprint``; loads onnx only when it is used."""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_node.prepare.errors import GraphError, PrepareError

if TYPE_CHECKING:
    from edge_node.prepare.footprint import Footprint


def add(commands: Any) -> None:
    """Add the command to ``edge-node prepare``."""
    command = commands.add_parser(
        "footprint",
        help="parameters, activations and their bytes in fp32, fp16 and int8",
        description="Counts what a model holds, writes and multiplies, by layer and in sum, from its graph.",
    )
    command.set_defaults(command=_footprint)
    command.add_argument("model", type=Path, metavar="model.onnx", help="fp32")
    command.add_argument("--batch", type=int, default=1, help="samples at once (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="for a program")


def _footprint(options: argparse.Namespace) -> str:
    from edge_node.prepare import graph
    from edge_node.prepare.footprint import footprint

    if options.batch < 1:
        raise PrepareError(f"--batch {options.batch}: at least one sample")
    model = graph.load(options.model)
    try:
        found = footprint(model, options.batch)
    except GraphError:  # a size that is computed may be constant
        found = footprint(graph.fold(model, str(options.model)), options.batch)
    return json.dumps(report(found), indent=2) if options.json else table(found)


def report(found: "Footprint") -> dict[str, Any]:
    """Values and bytes, for a program."""
    from edge_node.prepare.footprint import BYTES

    sums = {name: getattr(found, name) for name in ("parameters", "activations", "live", "macs")}
    return {
        **sums,
        "bytes": {
            precision: {"training": size * found.training, "inference": size * found.inference}
            for precision, size in BYTES.items()
        },
        "layers": [asdict(layer) for layer in found.layers],
    }


def table(found: "Footprint") -> str:
    """For a person: a line a layer, then the two sums."""
    from edge_node.prepare.footprint import BYTES

    rows = [("layer", "operator", "parameters", "activations", "MACs", *BYTES)]
    for layer in found.layers:
        counts = (layer.parameters, layer.activations, layer.macs)
        rows.append((layer.name, layer.operator, *_counts(counts), *_sizes(counts[0] + counts[1])))
    sums = (found.parameters, found.activations, found.macs)
    rows += [
        ("all, activations kept", "", *_counts(sums), *_sizes(found.training)),
        ("at inference", "", *_counts((found.parameters, found.live)), "", *_sizes(found.inference)),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def size(count: float) -> str:
    """Bytes with three digits and a unit."""
    power = min(3, int(math.log10(max(count, 1)) // 3))
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"


def _counts(counts: tuple[int, ...]) -> list[str]:
    return [f"{count:,}" for count in counts]


def _sizes(values: int) -> list[str]:
    from edge_node.prepare.footprint import BYTES

    return [size(values * width) for width in BYTES.values()]
