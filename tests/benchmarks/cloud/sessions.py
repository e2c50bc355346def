"""Why a session is opened as it is: ``python -m tests.benchmarks.cloud.sessions``.

Each way of opening it, by turns with the server's own; runs a second of one caller and of as many as there
are cores, as multiples of the server's. Sessions that spin would disturb each other: one is open at a time.
"""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime as ort

from cloud_server.inference.session import open_session
from protos.codec import Tensor
from tests.benchmarks import table
from tests.benchmarks.cloud import nets
from tests.benchmarks.table import Row

CORES = os.cpu_count() or 1
SECONDS, ROUNDS = 0.6, 7
Way = Callable[[ort.SessionOptions], None]


def _spin(options: ort.SessionOptions, threads: int, spin: str) -> None:
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)


def _arena(options: ort.SessionOptions) -> None:
    _spin(options, 1, "0")
    options.enable_cpu_mem_arena = False


def _pattern(options: ort.SessionOptions) -> None:
    _spin(options, 1, "0")
    options.enable_mem_pattern = False


WAYS: dict[str, Way] = {
    f"{CORES} threads a run, spinning": lambda options: _spin(options, CORES, "1"),
    f"{CORES} threads a run, not spinning": lambda options: _spin(options, CORES, "0"),
    "onnxruntime's defaults": lambda _: None,
    "no arena": _arena,
    "no memory pattern": _pattern,
}
"""Against one thread a run, arena and memory pattern on: the server's."""


def measure() -> dict[str, list[Row]]:
    """Multiples of the server's runs a second: the median of rounds, the middle half beside it."""
    with TemporaryDirectory() as folder:
        models = {
            "small": (nets.small(Path(folder) / "small.onnx"), np.zeros((1, 3, 96, 96), np.float32)),
            "mid": (nets.mid(Path(folder) / "mid.onnx"), np.zeros((1, 3, 224, 224), np.float32)),
        }
        return {name: [_row(path, sample, way) for way in WAYS] for name, (path, sample) in models.items()}


def _row(path: Path, sample: Tensor, way: str) -> Row:
    ratios: dict[int, list[float]] = {1: [], CORES: []}
    for _ in range(ROUNDS):
        for callers, found in ratios.items():
            found.append(
                _pace(_opened(path, way), sample, callers) / _pace(open_session(path), sample, callers)
            )
    return {"opened with": way, **{f"{n} at once, x": _middle(found) for n, found in ratios.items()}}


def _opened(path: Path, way: str) -> Any:
    options = ort.SessionOptions()
    WAYS[way](options)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _pace(session: Any, sample: Tensor, callers: int) -> float:
    """Runs a second, after a warm-up."""
    feed = {session.get_inputs()[0].name: sample}

    def run(seconds: float) -> int:
        end, runs = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            session.run(None, feed)
            runs += 1
        return runs

    run(SECONDS / 6)
    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(run, [SECONDS] * callers)) / SECONDS


def _middle(found: list[float]) -> str:
    low, median, high = statistics.quantiles(found, n=4)
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    for title, rows in measure().items():
        table.show(title, rows)
    print(table.machine())
