"""The one client of all servers: a process of its own, so that no server shares its time with the clock.

``python -m tests.benchmarks.cloud.client`` does what each line of its standard input says, and answers with
a line. Each caller has a connection of its own, as devices have. One is gRPC's own; several are h2load, as
grpc.aio would take a third of both cores, and so hide a third of what servers differ by.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import grpc
import msgspec
import numpy as np
from msgspec.structs import replace

from protos import codec
from protos import inference_pb2 as pb
from protos.codec import Tensor
from tests.services import HOW_TO_GET, find

MANY = "h2load"
"""What several callers are."""
SERVICE = "/inference.GRPCInferenceService/"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to do for some seconds, and whom to ask."""

    model: str
    """Path of the network; a server has it under the file's name."""
    pixels: int
    target: str = ""
    """``host:port``; empty: no server, the network itself in this process."""
    callers: int = 1
    """Of a server; without one: threads."""
    stream: bool = False
    """One call a caller for all its requests, rather than a call each."""
    seconds: float = 0.0
    """0: ask once, and say the answer."""


@dataclass(frozen=True)
class Done:
    """What came of it."""

    rate: float
    """Answers a second."""
    p50: float
    """Milliseconds."""
    p99: float
    cpu: float
    """The clients' milliseconds an answer."""
    logits: list[float]
    """The last answer."""


class Client:
    """The process."""

    def __enter__(self) -> Self:
        if not find(MANY):
            sys.exit(f"needs {MANY}: {HOW_TO_GET[MANY]}")
        self._popen = subprocess.Popen(
            [sys.executable, "-m", __spec__.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._popen.stdin
        self._popen.stdin.close()
        self._popen.wait()

    def do(self, task: Task) -> Done:
        """Have it done; a call that fails ends the process, with its traceback on the screen."""
        assert self._popen.stdin
        assert self._popen.stdout
        self._popen.stdin.write(msgspec.json.encode(task).decode() + "\n")
        self._popen.stdin.flush()
        return Done(**json.loads(self._popen.stdout.readline()))


def main() -> None:
    """Do what comes in, until nothing more does."""
    for line in sys.stdin:
        print(json.dumps(asdict(_do(msgspec.json.decode(line, type=Task)))), flush=True)


def _do(task: Task) -> Done:
    if task.target and task.callers > 1 and task.seconds:
        return _many(task)
    laps: list[float] = []
    cpu, start = time.process_time(), time.perf_counter()
    if not task.target:
        last: bytes | Tensor = _bare(task, laps)
    else:
        last = (_stream if task.stream else _one)(task, laps)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    return _done(laps, len(laps) / took, cpu, last)


def _done(laps: list[float], rate: float, cpu: float, last: bytes | Tensor) -> Done:
    p50, p99 = (1e3 * float(it) for it in np.quantile(laps, (0.5, 0.99)))
    return Done(rate, p50, p99, 1e3 * cpu / len(laps), _logits(last))


def _repeat(ask: Callable[[], Any], seconds: float, laps: list[float]) -> Any:
    """Ask again and again, and once at least; the last answer."""
    before = time.perf_counter()
    end = before + seconds
    while True:
        answer = ask()
        now = time.perf_counter()
        laps.append(now - before)
        if now >= end:
            return answer
        before = now


def _one(task: Task, laps: list[float]) -> bytes:
    call: Any = _channel(task.target).unary_unary(SERVICE + "ModelInfer")
    request = _request(task.model, task.pixels)
    answer: bytes = _repeat(lambda: call(request), task.seconds, laps)
    return answer


def _many(task: Task) -> Done:
    """Callers as light as callers can be: h2load is C, and knows of gRPC that it is HTTP/2.

    It does not see a call's status. A refusal has no message, so the bytes of all answers tell.
    """
    request, answer = _request(task.model, task.pixels), _one(replace(task, seconds=0.0), [])
    with TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
        options = f"-m1 -t1 -c{task.callers} -D{1e3 * task.seconds:.0f}ms -d {body} --log-file={log}".split()
        headers = "-H", "content-type: application/grpc", "-H", "te: trailers"
        url = f"http://{task.target}{SERVICE}ModelInfer"
        before = os.times()
        command = [str(find(MANY)), *options, *headers, url]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        used = os.times()
        laps = [int(line.split()[2]) / 1e6 for line in log.read_text().splitlines()]
    rate, data = (float(re.findall(it, said.stdout)[0]) for it in (r"([\d.]+) req/s,", r"\((\d+)\) data"))
    assert data > 0.9 * len(answer) * len(laps), said.stdout
    cpu = used.children_user + used.children_system - before.children_user - before.children_system
    return _done(laps, rate, cpu, answer)


def _stream(task: Task, laps: list[float]) -> bytes:
    """One caller: the next request once the answer to the last is here."""
    waiting: SimpleQueue[bytes | None] = SimpleQueue()
    call: Any = _channel(task.target).stream_stream(SERVICE + "ModelStreamInfer")
    request, answers = _request(task.model, task.pixels), call(iter(waiting.get, None))

    def ask() -> bytes:
        waiting.put(request)
        return bytes(next(answers))

    answer: bytes = _repeat(ask, task.seconds, laps)
    waiting.put(None)
    message = pb.ModelStreamInferResponse.FromString(answer)
    assert not message.error_message, message.error_message
    return message.infer_response.SerializeToString()


def _bare(task: Task, laps: list[float]) -> Tensor:
    session, feed = _session(task.model), {"x": sample(task.pixels)}

    def repeat(_: int) -> tuple[Tensor, list[float]]:
        mine: list[float] = []
        return _repeat(lambda: session.run(None, feed)[0], task.seconds, mine), mine

    with ThreadPoolExecutor(task.callers) as pool:
        answers, each = zip(*pool.map(repeat, range(task.callers)), strict=True)
    laps.extend(chain.from_iterable(each))
    last: Tensor = answers[-1]
    return last


def sample(pixels: int) -> Tensor:
    """One image."""
    return np.random.default_rng(0).random((1, 3, pixels, pixels), np.float32)


@cache
def _request(model: str, pixels: int) -> bytes:
    return codec.request(Path(model).stem, {"x": sample(pixels)}, request_id="1").SerializeToString()


@cache
def _session(model: str) -> Any:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def _channel(target: str) -> grpc.Channel:
    return grpc.insecure_channel(target, OPTIONS)


def _logits(answer: bytes | Tensor) -> list[float]:
    if isinstance(answer, bytes):
        tensors: Iterator[Tensor] = iter(
            codec.response_tensors(pb.ModelInferResponse.FromString(answer)).values()
        )
        answer = next(tensors)
    logits: list[float] = answer.ravel().tolist()
    return logits


if __name__ == "__main__":
    main()
