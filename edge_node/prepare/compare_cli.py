"""The command ``edge-node prepare compare``; loads onnx only when it is used."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_node.prepare import facts_cli
from edge_node.prepare.errors import GraphError, PrepareError
from edge_node.prepare.progress import log
from protos import artifact
from protos.artifact import ImageInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto

    from edge_node.prepare.compare import Contestant, Row
    from edge_node.prepare.data import Samples


def add(commands: Any) -> None:
    """Add the command to ``edge-node prepare``."""
    command = commands.add_parser(
        "compare",
        help="fp32, fp16 and every int8 variant side by side, measured here",
        description="The first model is the reference. If it is fp32, every way to quantise it is made and "
        "measured; further models and artifacts join as they are.",
    )
    command.set_defaults(command=_compare)
    command.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL|ARTIFACT_DIR", help="of the same input and classes"
    )
    command.add_argument(
        "--data", type=Path, required=True, metavar="SAMPLES", help="as for `edge-node prepare quantize`"
    )
    command.add_argument("--labels", type=Path, help="names of the classes: text file, a label a line")
    command.add_argument("--out", type=Path, help="folder for the report: Markdown, JSON and the plot")
    command.add_argument("--as-is", action="store_true", help="make no variants")
    command.add_argument(
        "--max-drop", type=float, default=0.01, help="of the variant to recommend (default: %(default)s)"
    )
    command.add_argument(
        "--calibration",
        choices=("all", "minmax", "percentile", "entropy"),
        default="all",
        help="of the static variants (default: %(default)s)",
    )
    command.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="beside 1 (default: all)")
    command.add_argument("--crop", type=float, help="share of an image's shorter side (default: all)")


def _compare(options: argparse.Namespace) -> str:
    from edge_node.meters import sensors
    from edge_node.prepare import compare, compare_report

    _check(options)
    named = _unlike([_opened(path) for path in options.models])
    samples = _samples(options, next(iter(named.values())))
    contestants, measured = _contestants(options, named, samples)
    threads = sorted({1, options.threads})
    rows = compare.rows_of(contestants, measured, threads, sensors.rapl())
    said = compare_report.terminal(rows, options.max_drop)
    if options.out is None:
        return said
    counts = {"calibration": len(samples) - len(measured), "measured": len(measured)}
    return "\n".join([said, *_write(options, rows, counts)])


def _check(options: argparse.Namespace) -> None:
    if not 0 < options.max_drop < 1:
        raise PrepareError(f"--max-drop {options.max_drop:g}: a share between 0 and 1")
    if options.threads < 1:
        raise PrepareError(f"--threads {options.threads}: at least one")


def _opened(path: Path) -> tuple[str, "ModelProto"]:
    """Name and graph of a file or an artifact."""
    import onnx
    from google.protobuf.message import DecodeError

    name, file = path.stem, path
    if path.is_dir():
        found = artifact.load(path)
        name, file = found.manifest.name, found.model
    try:
        return name, onnx.load(file)
    except DecodeError as error:
        raise GraphError(f"{path} is no sound ONNX model") from error
    except OSError as error:
        raise GraphError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error


def _unlike(opened: "Sequence[tuple[str, ModelProto]]") -> dict[str, "ModelProto"]:
    """By name; ``PrepareError`` if they cannot be given the same samples."""
    from edge_node.prepare.graph import signature

    found: dict[str, ModelProto] = {}
    takes = None
    for name, model in opened:
        if name in found:
            raise PrepareError(f"two models are called {name}: rename a file")
        said = signature(model, name)
        own = (said.input.datatype, said.input.shape[1:], said.output.shape[1:])
        takes = takes or own
        if own != takes:
            raise PrepareError(
                f"{name} takes {own[0]} {own[1]} and has {own[2][0]} classes, "
                f"{opened[0][0]} takes {takes[0]} {takes[1]} and has {takes[2][0]}: they share no samples"
            )
        found[name] = model
    return found


def _samples(options: argparse.Namespace, model: "ModelProto") -> "Samples":
    from edge_node.prepare.data import checked
    from edge_node.prepare.graph import signature
    from edge_node.prepare.readers import Expected, read

    said = signature(model, str(options.models[0]))
    names = facts_cli.labels(options.labels) if options.labels else None
    expected = Expected(said.input, said.output.shape[1], names, options.crop or _crop(options.models[0]))
    return checked(read(options.data, expected).samples, said)


def _crop(path: Path) -> float:
    """As the artifact was made with."""
    how = artifact.load(path).manifest.preprocessing if path.is_dir() else None
    return how.crop if isinstance(how, ImageInput) else 1.0


def _contestants(
    options: argparse.Namespace, named: dict[str, "ModelProto"], samples: "Samples"
) -> "tuple[list[Contestant], Samples]":
    """Who takes part, and the samples that measure: those that calibrated do not."""
    from typing import get_args

    from edge_node.prepare import graph, targets
    from edge_node.prepare.compare import Contestant, precision_of, variants_of
    from edge_node.prepare.data import split
    from edge_node.prepare.variants import Calibration

    given = [Contestant(name, precision_of(model), model) for name, model in named.items()]
    if options.as_is or given[0].precision != "fp32":
        return given, samples
    calibration, measured = split(samples, options.max_drop)
    ranges = get_args(Calibration) if options.calibration == "all" else (options.calibration,)
    folded = graph.fold(graph.check(given[0].model, given[0].name), given[0].name)
    made = variants_of(folded, targets.resolve("auto"), calibration.inputs, ranges)
    return [*made, *given[1:]], measured


def _write(options: argparse.Namespace, rows: "Sequence[Row]", counts: dict[str, int]) -> list[str]:
    """The report under ``options.out``; what to say about it."""
    from edge_node.prepare import compare_plot, compare_report

    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"compare-{options.models[0].stem}"
    facts = {
        "models": [path.stem for path in options.models],
        "command": shlex.join(["edge-node", *sys.argv[1:]]),
        "samples": counts,
    }
    report = compare_report.report_of(rows, facts, options.max_drop)
    figure = stem.with_suffix(".svg")
    said = [f"written: {stem}.md, .json, .svg"]
    try:
        compare_plot.write_plot(figure, rows, stem.name.removeprefix("compare-"))
    except ModuleNotFoundError as error:
        log.info("no plot without matplotlib: %s", error)
        said = [f"written: {stem}.md, .json; no plot: {error.name} is not installed: pip install matplotlib"]
        figure = Path()
    stem.with_suffix(".json").write_bytes(artifact.encode_report(report))
    stem.with_suffix(".md").write_text(compare_report.markdown(rows, report, figure.name or None))
    return said
