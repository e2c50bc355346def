"""``python -m tests.benchmarks.qat_report``: int8 beside fp32, and whether training for it pays.

Trains, quantises and measures; writes ``docs/reports/qat-motion-fashion.md``. Needs torch and the
Debian package ``dataset-fashion-mnist``.
"""

import argparse
import copy
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from torch import Tensor, nn

from edge_node.prepare import graph
from edge_node.prepare.qat.api import (
    Prepared,
    Quantization,
    convert,
    onnx_logits,
    prepare_qat,
    torch_logits,
    train,
)
from edge_node.prepare.variants import Reader
from tests.benchmarks.qat_tasks import TASKS, Task
from tests.benchmarks.table import machine

REPORT = Path(__file__).parents[2] / "docs/reports/qat-motion-fashion.md"
FIGURES = REPORT.with_suffix(".json")
STUDENT = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Two-sided 95 % quantile of Student's t, by number of seeds."""
WAYS = {
    "fp32": "the float network",
    "PTQ": "the same prepared for QAT, ranges from 512 training samples, not trained",
    "PTQ (onnxruntime)": "`quantize_static`, MinMax, the same samples: a second opinion",
    "QAT": "trained on with fake quantisation",
    "fp32+": "the float network trained on for as long, at the same rate",
    "PTQ of fp32+": "what those epochs give without fake quantisation",
}
INTRODUCTION = """\
# QAT: motion and Fashion-MNIST

Made by `python -m tests.benchmarks.qat_report`; all figures are in `qat-motion-fashion.json`.

Every int8 figure is onnxruntime's on the exported graph, not the fake-quantised model's. Points are
percentage points of top-1; ± is the 95 % interval of the mean over the seeds (Student's t); a seed is
a training of its own from other initial weights, whose network then goes all ways.

| task | seeds | fp32, % | PTQ, % | QAT, % | QAT less fp32 | QAT less PTQ |
| --- | --- | --- | --- | --- | --- | --- |
{summary}
The ways:

| way | what it is |
| --- | --- |
{ways}"""

SECTION = """
## {name}

{about}.

| way | top-1, % | less fp32, points | by seed |
| --- | --- | --- | --- |
{table}

- **QAT less fp32: {fp32} points**; less fp32+: {further}
- **QAT less PTQ: {ptq} points**; less PTQ of fp32+: {ptq_further}
- PTQ loses more than a point in {lossy} of {seeds} seeds; QAT is at least as good as PTQ in {better}.
{channels}- The exported graph gives the class of the fake-quantised model on {agreement} of the samples
  or more; {layers} layers run in int8; the file went from {sizes} kB.
- Settings: {settings}.
- Measured in {minutes:.0f} minutes on {machine}.
"""

log = logging.getLogger(__name__)


class Run(msgspec.Struct, frozen=True):
    """One seed of a task."""

    top1: dict[str, float]
    """By way, in per cent."""
    by_channel: float | None
    """The same for PTQ with scales by channel, where the task has one a tensor."""
    agreement: float
    layers: str
    bytes: dict[str, int]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a task."""

    name: str
    about: str
    settings: str
    machine: str
    minutes: float
    runs: list[Run]


def main() -> None:
    """Measure the tasks asked for, keep their figures as JSON, and write the report of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, choices=STUDENT, default=4)
    parser.add_argument(
        "--only", choices=TASKS, help="measure this one anew, keep what is known of the others"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)  # with more, sums and so figures would depend on the machine's cores
    for name in [options.only] if options.only else TASKS:
        _keep(name, _measured(TASKS[name](), options.seeds))


def _keep(name: str, measured: Measured) -> None:
    """Add a task to the figures, or replace it, and write the report of all that is known."""
    known = msgspec.json.decode(FIGURES.read_bytes(), type=dict[str, Measured]) if FIGURES.exists() else {}
    known[name] = measured
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")
    tasks = [known[it] for it in TASKS if it in known]
    REPORT.write_text("\n".join([_introduction(tasks), *map(_section, tasks)]))


def _measured(task: Task, seeds: int) -> Measured:
    start = time.monotonic()
    runs = [_run(task, seed) for seed in range(seeds)]
    return Measured(
        name=task.name,
        about=task.about,
        settings=f"{_words(task.quantization)}; {_words(task.training)}",
        machine=_machine(),
        minutes=(time.monotonic() - start) / 60,
        runs=runs,
    )


def _run(task: Task, seed: int) -> Run:
    network = task.fit(seed)
    further = _trained_on(task, network, seed)
    prepared = _prepared(task, network)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ptq = convert(prepared, folder / "int8.onnx", task.inputs)
        ptq_further = convert(_prepared(task, further), folder / "further.onnx", task.inputs)
        library = _onnxruntime(task, network, folder)
        train(prepared, _epochs(task, seed), task.step, training=task.training)
        qat = convert(prepared, folder / "int8.onnx", task.inputs)
        sizes = {it: (folder / it).stat().st_size for it in ("fp32.onnx", "int8.onnx")}
    by_channel = None
    if task.quantization.weights == "per_tensor":
        other = replace(task, quantization=Quantization(weights="per_channel"))
        by_channel = _top1(task, torch_logits(_prepared(other, network), task.inputs))
    floats = [torch_logits(it, task.inputs) for it in (network, further)]
    logits = (floats[0], ptq.logits, library, qat.logits, floats[1], ptq_further.logits)
    top1 = {way: _top1(task, it) for way, it in zip(WAYS, logits, strict=True)}
    log.info("%s, seed %d: %s", task.name, seed, {way: round(it, 2) for way, it in top1.items()})
    return Run(top1, by_channel, qat.agreement, f"{qat.int8_layers} of {qat.layers}", sizes)


def _top1(task: Task, logits: NDArray[np.float32]) -> float:
    return 100 * float((logits.argmax(1) == task.labels).mean())


def _prepared(task: Task, network: nn.Module) -> Prepared:
    prepared = prepare_qat(network, task.inputs[:2], task.quantization)
    with prepared.calibrating():
        prepared(torch.from_numpy(task.calibration))
    return prepared


def _epochs(task: Task, seed: int) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """The batches of one epoch after another."""
    numbers = iter(range(1000 * seed + 500, 1000 * seed + 1000))
    return lambda: task.batches(next(numbers))


def _trained_on(task: Task, network: nn.Module, seed: int) -> nn.Module:
    """The control: what further epochs do for the float network."""
    further = copy.deepcopy(network).train()
    torch.manual_seed(task.training.seed)
    optimiser = torch.optim.Adam(further.parameters(), task.training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, task.training.epochs)
    epoch = _epochs(task, seed)
    for _ in range(task.training.epochs):
        for batch in epoch():
            optimiser.zero_grad()
            task.step(further, batch).backward()
            optimiser.step()
        schedule.step()
    return further.eval()


def _onnxruntime(task: Task, network: nn.Module, folder: Path) -> NDArray[np.float32]:
    """Logits of what onnxruntime's own quantiser makes of the float network."""
    exported, folded, quantized = (folder / f"{it}.onnx" for it in ("fp32", "folded", "quantized"))
    example = torch.from_numpy(task.inputs[:2])
    shapes = ({0: torch.export.Dim("batch")},)
    logging.disable(logging.WARNING)  # the exporter tells much about itself
    torch.onnx.export(
        network, (example,), exported, dynamic_shapes=shapes, external_data=False, verbose=False
    )
    logging.disable(logging.NOTSET)
    onnx.save(graph.fold(graph.load(exported)), folded)
    quantize_static(
        folded,
        quantized,
        Reader(onnx.load(folded).graph.input[0].name, task.calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=task.quantization.weights == "per_channel",
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return onnx_logits(quantized, task.inputs)


def _machine() -> str:
    found = machine()
    return f"{found['cpu']} ({found['flags']}; torch {torch.__version__}, onnxruntime {found['onnxruntime']})"


def _introduction(known: Iterable[Measured]) -> str:
    ways = "".join(f"| {way} | {what} |\n" for way, what in WAYS.items())
    return INTRODUCTION.format(ways=ways, summary="".join(map(_summary, known)))


def _summary(measured: Measured) -> str:
    """A line of the first table."""
    runs = measured.runs
    cells = [
        measured.name,
        str(len(runs)),
        *(_interval([run.top1[way] for run in runs]) for way in ("fp32", "PTQ", "QAT")),
        _difference(runs, "QAT", "fp32"),
        _difference(runs, "QAT", "PTQ"),
    ]
    return f"| {' | '.join(cells)} |\n"


def _section(measured: Measured) -> str:
    runs = measured.runs
    sizes = " to ".join(f"{np.mean([run.bytes[it] for run in runs]) / 1000:.1f}" for it in runs[0].bytes)
    table = [
        f"| {way} | {_interval([run.top1[way] for run in runs])} | {_difference(runs, way, 'fp32')} "
        f"| {', '.join(f'{run.top1[way]:.2f}' for run in runs)} |"
        for way in WAYS
    ]
    return SECTION.format(
        name=measured.name,
        about=measured.about[0].upper() + measured.about[1:],
        minutes=measured.minutes,
        machine=measured.machine,
        settings=measured.settings,
        table="\n".join(table),
        fp32=_difference(runs, "QAT", "fp32"),
        further=_difference(runs, "QAT", "fp32+"),
        ptq=_difference(runs, "QAT", "PTQ"),
        ptq_further=_difference(runs, "QAT", "PTQ of fp32+"),
        lossy=sum(run.top1["fp32"] - run.top1["PTQ"] > 1 for run in runs),
        seeds=len(runs),
        better=sum(run.top1["QAT"] >= run.top1["PTQ"] for run in runs),
        channels=_by_channel(runs),
        agreement=f"{min(run.agreement for run in runs):.2%}",
        layers=runs[0].layers,
        sizes=sizes,
    )


def _by_channel(runs: Sequence[Run]) -> str:
    """What the simpler remedy gives, where the task forgoes it."""
    given = [run.by_channel for run in runs if run.by_channel is not None]
    return (
        f"- With scales by channel PTQ alone gives {_interval(given)} %: the cheaper remedy.\n"
        if given
        else ""
    )


def _difference(runs: Sequence[Run], way: str, other: str) -> str:
    return _interval([run.top1[way] - run.top1[other] for run in runs], sign="+") if way != other else ""


def _interval(values: Sequence[float], sign: str = "") -> str:
    """Mean and half the width of its 95 % interval."""
    half = STUDENT[len(values)] * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):{sign}.2f} ± {half:.2f}"


def _words(settings: msgspec.Struct) -> str:
    values: dict[str, Any] = msgspec.structs.asdict(settings)
    return ", ".join(f"{key} = {value}" for key, value in values.items())


if __name__ == "__main__":
    main()
