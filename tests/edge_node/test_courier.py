"""Provisional delivery over a real outbox and a real server: one final result a sample, however late."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock

import grpc
import msgspec
import numpy as np
import pytest

from deploy.demo.processes import wait_until
from edge_node import config, courier
from edge_node.courier import ATTEMPTS, Courier
from edge_node.fallback import Deferral, Fallback, NoFallback, Outcome
from edge_node.metrics import Meter
from edge_node.outbox import Held, Outbox
from edge_node.promise import final
from protos import codec
from protos import inference_pb2 as pb
from protos import result as contract
from protos.artifact import Artifact
from protos.codec import Tensor
from protos.result import Reason, Result
from tests.edge_node.asking import fallback
from tests.edge_node.clouds import HOST, Context, Counted, cloud, numbers, refuses, surer
from tests.fakes import Kept
from tests.nodes import PATIENCE, opened, settings
from tests.results import CONFIDENT, result

LABELS = ("red", "green", "blue")
MODEL = CONFIDENT.model.sha256


class Desk:
    """What a pipeline does with a courier: numbers and publishes, provisional results and final ones."""

    def __init__(self, outbox: Outbox, fallback: Fallback, model: str = MODEL) -> None:
        self._outbox, self._turn, self._seq = outbox, Lock(), count(outbox.next_seq)
        self.courier = Courier(outbox, fallback, model)
        self.courier.carry(self.correct)
        self.finals: list[Result] = []
        self.careless = False
        """Publish a final result, and be killed before its input is let go."""

    def defer(self, name: str, payload: Tensor, confidence: float = 0.4, seconds: float = PATIENCE) -> None:
        """One sample that the edge is not sure of."""
        started = time.monotonic()
        with self._turn:
            provisional = result(
                id=name,
                seq=next(self._seq),
                state="provisional",
                reason=Reason.DEFERRED,
                confidence=confidence,
            )
            held = self.courier.hold(provisional, started, payload)
            self._outbox.append(provisional, hold=held)
        self.courier.ask(provisional, started, Deferral(name, payload, started + seconds))

    def correct(self, provisional: Result, started: float, outcome: Outcome) -> int:
        with self._turn:
            seq = next(self._seq)
            corrected = msgspec.structs.replace(final(provisional, outcome, LABELS, started), seq=seq)
            self._outbox.append(corrected, release=None if self.careless else provisional.id)
            self.finals.append(corrected)
        return seq

    def finished(self, number: int) -> bool:
        """Whether so many have their final result, and nothing is held, or soon will be."""
        return wait_until(lambda: len(self.finals) >= number and not self._outbox.held(1), PATIENCE)

    def one_final_each(self, number: int) -> bool:
        return sorted(Counter(it.id for it in self.finals).values()) == [1] * number


@contextmanager
def outbox(folder: Path, max_held_bytes: int = 2**20) -> Iterator[Outbox]:
    with Outbox(
        config.Outbox(linger=0.01, max_held_bytes=max_held_bytes), folder / "outbox", Meter()
    ) as opened:
        yield opened


@contextmanager
def desk(outbox: Outbox, fallback: Fallback, model: str = MODEL) -> Iterator[Desk]:
    opened = Desk(outbox, fallback, model)
    with opened.courier:
        yield opened
        fallback.drain()


class Down:
    """A cloud that is not there."""

    def submit(self, deferral: Deferral, done: Callable[[Outcome], None]) -> None:  # noqa: ARG002
        done(Outcome(Reason.CIRCUIT_OPEN, error="gone"))

    def drain(self) -> None:
        """Nothing is ever under way."""


def test_a_release_apart_from_its_result_would_answer_twice(
    tmp_path: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of what is said of one final result: what is not in one transaction can be cut in two."""
    ids = []
    for careless in (True, False):
        monkeypatch.setattr(courier, "IDLE", PATIENCE if careless else 0.05)
        with (
            cloud() as port,
            fallback(port, artifact) as asker,
            outbox(tmp_path) as store,
            desk(store, asker.fallback) as node,
        ):
            node.careless = careless
            if careless:
                node.defer("one", numbers(0, 1, 0))
            assert wait_until(partial(bool, node.finals), PATIENCE)
        ids += [it.id for it in node.finals]
    assert ids == ["one", "one"]


def test_an_answer_in_time_is_the_final_result_at_once(tmp_path: Path, artifact: Artifact) -> None:
    with (
        cloud() as port,
        fallback(port, artifact) as asker,
        outbox(tmp_path) as store,
        desk(store, asker.fallback) as node,
    ):
        node.defer("one", numbers(0, 0, 9))
        assert node.finished(1)
    (answer,) = node.finals
    assert (answer.id, answer.state, answer.route, answer.reason) == ("one", "final", "cloud", "cloud")
    assert (answer.label, answer.class_index, answer.edge) == ("blue", 2, CONFIDENT.edge)
    assert answer.cloud is not None
    assert answer.confidence == answer.cloud.confidence
    assert answer.latency_ms.total >= (answer.latency_ms.cloud or 0) > 0


def test_what_was_deferred_offline_is_answered_later_least_certain_first(
    tmp_path: Path, artifact: Artifact
) -> None:
    """By another process, too: nothing but the disk remembers."""
    with outbox(tmp_path) as store, desk(store, Down()) as node:
        for i in range(50):
            node.defer(f"{i}", numbers(0, i, 0), confidence=(i * 7 % 50) / 50)
        assert wait_until(lambda: len(store.held(100)) == 50, PATIENCE)
        assert node.finals == []
    asked: list[float] = []

    def notes(request: pb.ModelInferRequest, context: Context) -> bytes:
        asked.append(float(codec.request_tensors(request)["their_input"][0, 1]))
        return surer(request, context)

    with (
        cloud(notes) as port,
        fallback(port, artifact) as asker,
        outbox(tmp_path) as store,
        desk(store, asker.fallback) as node,
    ):
        assert node.finished(50)
    assert node.one_final_each(50)
    assert {it.reason for it in node.finals} == {Reason.CLOUD}
    assert asked == sorted(asked, key=lambda i: i * 7 % 50)
    assert store.next_seq == 50, "the count of results goes on"
    assert sorted(it.seq for it in node.finals) == list(range(50, 100))


def test_a_cloud_that_comes_and_goes_leaves_one_final_result_each(tmp_path: Path, artifact: Artifact) -> None:
    """Every third call fails, each in its own way; the courier and the first attempts work side by side."""
    failures = [refuses(status) for status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)]
    counted = Counted(*[failures[i % 2] if i % 3 == 0 else surer for i in range(400)], surer)
    with (
        cloud(counted) as port,
        fallback(port, artifact) as asker,
        outbox(tmp_path) as store,
        desk(store, asker.fallback) as node,
    ):
        for i in range(200):
            node.defer(f"{i}", numbers(0, i, 0))
        assert node.finished(200)
    assert node.one_final_each(200)
    assert {it.reason for it in node.finals} <= {Reason.CLOUD, Reason.CLOUD_ERROR}


def test_an_input_that_the_cloud_refuses_is_given_up(tmp_path: Path, artifact: Artifact) -> None:
    counted = Counted(refuses(grpc.StatusCode.INVALID_ARGUMENT, "too odd"))
    with (
        cloud(counted) as port,
        fallback(port, artifact) as asker,
        outbox(tmp_path) as store,
        desk(store, asker.fallback) as node,
    ):
        node.defer("odd", numbers(0, 1, 0))
        assert node.finished(1)
    (answer,) = node.finals
    assert (answer.route, answer.reason, answer.label) == ("edge", "cloud_error", CONFIDENT.label)
    assert answer.error == "INVALID_ARGUMENT: too odd"
    assert len(counted.calls) == ATTEMPTS


def test_what_has_no_room_is_final_as_the_edge_said_it(tmp_path: Path) -> None:
    with outbox(tmp_path, max_held_bytes=20_000) as store, desk(store, Down()) as node:
        for i in range(40):
            node.defer(f"{i}", np.zeros((1, 250), np.float32), confidence=i / 40)
        assert wait_until(
            lambda: len(node.finals) > 20 and len(store.held(100)) + len(node.finals) == 40, PATIENCE
        )
        kept = {held.id for held in store.held(100)}
    assert node.one_final_each(len(node.finals))
    assert kept == {f"{i}" for i in range(len(kept))}, "the least certain stay"
    assert {(it.route, it.reason, it.state) for it in node.finals} == {("edge", "circuit_open", "final")}
    assert all("no room" in str(it.error) for it in node.finals)


class Forgetful:
    """A store that has no room for what is still under way, and says so once."""

    def __init__(self) -> None:
        self.homeless: list[Held] = []

    def held(self, limit: int) -> list[Held]:  # noqa: ARG002
        return []

    def surplus(self, limit: int) -> list[Held]:  # noqa: ARG002
        homeless, self.homeless = self.homeless, []
        return homeless

    def committed(self) -> int:
        return 10**9


@pytest.mark.parametrize("reason", [Reason.CLOUD, Reason.CLOUD_TIMEOUT])
def test_what_loses_its_place_while_it_is_asked_has_one_final_result_too(reason: Reason) -> None:
    finals: list[Outcome] = []
    under_way: list[Callable[[Outcome], None]] = []

    class Slow(Down):
        def submit(self, deferral: Deferral, done: Callable[[Outcome], None]) -> None:  # noqa: ARG002
            under_way.append(done)

    def correct(provisional: Result, started: float, outcome: Outcome) -> int:  # noqa: ARG001
        finals.append(outcome)
        return 1

    store = Forgetful()
    courier = Courier(store, Slow(), MODEL)
    courier.carry(correct)
    held = courier.hold(CONFIDENT, 0.0, numbers(0))
    assert held
    courier.ask(CONFIDENT, 0.0, Deferral("one", numbers(0), 0.0))
    store.homeless.append(held)
    courier._give_up(store)
    assert finals == []
    under_way[0](Outcome(reason))
    for _ in range(3):
        courier._give_up(store)
    assert [it.reason for it in finals] == [reason]


def test_inputs_of_another_model_are_not_asked(tmp_path: Path, artifact: Artifact) -> None:
    with outbox(tmp_path) as store, desk(store, Down()) as node:
        node.defer("old", numbers(0, 1, 0))
    counted = Counted(surer)
    with (
        cloud(counted) as port,
        fallback(port, artifact) as asker,
        outbox(tmp_path) as store,
        desk(store, asker.fallback, "1" * 64) as node,
    ):
        assert node.finished(1)
    assert counted.calls == []
    assert (node.finals[0].reason, node.finals[0].error) == (
        "cloud_error",
        "the edge model has changed since",
    )


@pytest.mark.parametrize(
    "payload",
    [
        np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
        numbers(0.5, -1, np.pi),
        np.array([b"\xff\xd8 a picture \x00"], object),
    ],
    ids=["bytes", "floats", "image"],
)
def test_a_payload_comes_back_from_the_disk_as_it_was(tmp_path: Path, payload: Tensor) -> None:
    seen: list[Tensor] = []

    class Looks(Down):
        def submit(self, deferral: Deferral, done: Callable[[Outcome], None]) -> None:
            seen.append(deferral.payload)
            super().submit(deferral, done)

    with outbox(tmp_path) as store, desk(store, Looks()) as node:
        node.defer("one", payload)
        assert wait_until(lambda: len(seen) > 1, PATIENCE)
    first, second = seen[:2]
    assert first is payload
    assert (second.dtype, second.shape, second.tolist()) == (payload.dtype, payload.shape, payload.tolist())


def test_without_an_outbox_the_first_word_of_the_cloud_is_the_last() -> None:
    said: list[tuple[Result, Outcome]] = []

    def correct(provisional: Result, started: float, outcome: Outcome) -> int:  # noqa: ARG001
        said.append((provisional, outcome))
        return 1

    with Courier(None, NoFallback(), MODEL) as courier:
        courier.carry(correct)
        assert courier.hold(CONFIDENT, 0.0, numbers(0)) is None
        courier.ask(CONFIDENT, 0.0, Deferral("one", numbers(0), 0.0))
    assert said == [(CONFIDENT, Outcome(Reason.EDGE_ONLY))]


def test_a_node_without_an_outbox_corrects_itself_too(tmp_path: Path, artifact: Artifact) -> None:
    kept = Kept()
    with cloud() as port:
        to = {"target": f"{HOST}:{port}", "model": "cloud", "delivery": "provisional"}
        with opened(settings(tmp_path, artifact, cloud=to), kept) as node:
            first = node.infer(np.array([0, 0.5, 0], np.float32))
            sure = node.infer(np.array([0, 5, 0], np.float32))
            assert wait_until(lambda: len(kept.results) == 3, PATIENCE)
    assert (first.state, first.route, first.reason) == ("provisional", "edge", "deferred")
    assert (sure.state, sure.reason) == ("final", "confident")
    (answer,) = (it for it in kept.results if it.id == first.id and it.state == "final")
    assert (answer.route, answer.reason, answer.edge) == ("cloud", "cloud", first.edge)
    assert answer.seq > first.seq


def test_a_final_result_of_another_boot_has_the_latency_that_is_known() -> None:
    outcome = Outcome(Reason.CLOUD, 1, 0.9, seconds=0.25)
    later = final(CONFIDENT, outcome, LABELS, time.monotonic() + 1e6)
    assert later.latency_ms.total == CONFIDENT.latency_ms.total
    assert later.latency_ms.cloud == 250
    assert contract.decode(contract.encode(later)) == later
