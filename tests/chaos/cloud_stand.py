"""A cloud that fails as a test says, and a node's samples while it does."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Self

import grpc
import numpy as np

from deploy.demo.processes import wait_until
from edge_node.node import EdgeNode
from edge_node.sample import Sample
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from protos.result import Reason, Result
from tests.edge_node.clouds import HOST, Context, cloud, surer
from tests.faults.proxy import Proxy
from tests.integration.fleet import cloud_server
from tests.nodes import PATIENCE

FAULTS = ("blackhole", "half-open", "refuse", "reset", "hang", "slow", "error")
SURE, UNSURE = (np.array(values, np.float32) for values in ([0, 5, 0], [0, 0.5, 0]))
DEADLINE = 0.3
"""Seconds that the cloud has."""


@dataclass(frozen=True)
class Stand:
    """A cloud behind a network, and the one fault of this stand."""

    target: str
    input_name: str
    strike: Callable[[], None]
    heal: Callable[[], None]


@contextmanager
def stand(folder: Path, fault: str) -> Iterator[Stand]:
    """``cloud-server`` and a proxy before it; for errors a server of our own, since ours makes none."""
    if fault == "error":
        broken = Event()

        def infer(request: pb.ModelInferRequest, context: Context) -> bytes:
            if broken.is_set():
                context.abort(grpc.StatusCode.INTERNAL, "broken")
            return surer(request, context)

        with cloud(infer) as port:
            yield Stand(f"{HOST}:{port}", "their_input", broken.set, broken.clear)
        return
    with cloud_server(folder) as server, Proxy(HOST, int(server.address.rpartition(":")[2])) as proxy:
        if fault == "hang":
            stop, go = (partial(server.popen.send_signal, it) for it in (signal.SIGSTOP, signal.SIGCONT))
            yield Stand(proxy.target, "x", stop, go)
        else:
            yield Stand(proxy.target, "x", lambda: _strike(proxy, fault), proxy.heal)


def _strike(proxy: Proxy, fault: str) -> None:
    match fault:
        case "blackhole":
            proxy.blackhole()
        case "half-open":
            proxy.half_open()
            proxy.blackhole()
        case "refuse":
            proxy.refuse()
            proxy.reset()
        case "reset":
            proxy.reset(after=20)
        case "slow":
            proxy.shape(latency=DEADLINE)


class Ticker:
    """A thread that would wake up every so often; how late it does is what others lose, too."""

    EVERY = 0.01

    def __init__(self) -> None:
        self.worst = self.total = 0.0
        """Seconds, of one awakening and of all."""
        self._stopping = Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self.EVERY
        while not self._stopping.wait(self.EVERY):
            late = time.monotonic() - due
            self.worst, self.total = max(self.worst, late), self.total + late
            due = time.monotonic() + self.EVERY


@dataclass(frozen=True)
class Period:
    """What became of the samples of some seconds."""

    results: list[Result]
    overslept: float
    """The latest that this machine woke a thread up, in seconds: nobody on it can be more punctual."""

    def lateness(self) -> float:
        """Seconds past the deadline of the fifth from last: a busy machine stalls one or two at random."""
        return sorted(result.latency_ms.total / 1e3 - DEADLINE for result in self.results)[-5]

    def reasons(self) -> set[Reason]:
        return {result.reason for result in self.results}


def feed(node: EdgeNode, seconds: float, every: float = 0.01) -> Period:
    """Samples at a camera's pace, sure and unsure by turns, and the result of each of them."""
    results: list[Result] = []
    fed, overslept, due = 0, 0.0, time.monotonic()
    end = due + seconds
    with Ticker() as ticker:
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            overslept = max(overslept, time.monotonic() - due)
            node._pipeline.process(Sample("", UNSURE if fed % 2 else SURE), results.append)
            fed, due = fed + 1, due + every
        answered = wait_until(lambda: len(results) == fed, PATIENCE)
    assert answered, f"{fed - len(results)} samples have no answer"
    return Period(results, max(overslept, ticker.worst))


def recovery(node: EdgeNode, longest: float) -> float:
    """Seconds until the cloud answers a sample again, without those in which this machine stood still."""
    started = time.monotonic()
    with Ticker() as ticker:

        def passed() -> float:
            return time.monotonic() - started - ticker.total

        while not any(result.reason is Reason.CLOUD for result in feed(node, 0.05, 0.02).results):
            assert passed() < longest, "the cloud is back, and nobody has seen it"
        return passed()


class Plain:
    """A client by gRPC's defaults on a channel that it keeps, without anything of ours."""

    def __init__(self, stand: Stand) -> None:
        self._channel = grpc.insecure_channel(stand.target, [("grpc.use_local_subchannel_pool", 1)])
        self._call = GRPCInferenceServiceStub(self._channel).ModelInfer
        self._request = codec.request("cloud", {stand.input_name: UNSURE[np.newaxis]})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def answered(self, seconds: float) -> bool:
        """Whether a call has an answer after so long; an error is none."""
        call = self._call.future(self._request)
        return wait_until(call.done, seconds) and call.code() is grpc.StatusCode.OK
