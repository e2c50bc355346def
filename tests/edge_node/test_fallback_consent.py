"""What is sent has the consent of breaker, forecast, budget and slots; what is not, says who refused."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

import grpc
import pytest

from deploy.demo.processes import wait_until
from edge_node.fallback.deferral import NoBudget
from edge_node.metrics import Meter
from protos import inference_pb2 as pb
from protos.artifact import Artifact
from protos.result import Reason
from tests.edge_node.asking import Asker, fallback
from tests.edge_node.clouds import (
    HOST,
    Context,
    Counted,
    Held,
    answer,
    cloud,
    describe,
    numbers,
    refuses,
    says,
    surer,
)
from tests.fakes import Answers
from tests.ledger import exposition, value
from tests.nodes import PATIENCE

SIZE = 12
"""Bytes of a payload here."""


class Purse:
    """A budget that has so much, and the books of it."""

    def __init__(self, left: int) -> None:
        self.left, self.asked, self.pending = left, 0, 0
        self._lock = Lock()

    def take(self, nbytes: int, /) -> bool:
        with self._lock:
            self.asked += 1
            if nbytes > self.left:
                return False
            self.left -= nbytes
            self.pending += nbytes
            return True

    def settle(self, charged: int, used: int, /) -> None:
        with self._lock:
            self.pending -= charged
            self.left += charged - used


def send(asker: Asker, kind: str) -> Answers:
    """Submit one that yields to others."""
    return asker.send(audit=kind == "audit", held=kind == "held")


def asked_often(asker: Asker, seconds: float = 1.0) -> list[Reason]:
    """The reasons of samples that keep coming for so long, a thousand at least."""
    until, reasons = time.monotonic() + seconds, list[Reason]()
    while time.monotonic() < until or len(reasons) < 1000:
        reasons.append(asker.ask().reason)
    return reasons


@pytest.mark.parametrize(
    "fails",
    [
        refuses(grpc.StatusCode.INTERNAL),
        refuses(grpc.StatusCode.UNAVAILABLE),
        refuses(grpc.StatusCode.RESOURCE_EXHAUSTED),
        says(b"garbage"),
        says(answer(numbers(0, float("nan"), 0))),
    ],
    ids=["internal", "unavailable", "exhausted", "garbage", "nan"],
)
def test_a_cloud_that_keeps_failing_is_left_alone(artifact: Artifact, fails: Callable[..., bytes]) -> None:
    counted = Counted(fails)
    with cloud(counted) as port, fallback(port, artifact) as asker:
        reasons = asked_often(asker)
        assert len(counted.calls) < 20, "five, then one whenever the server shows that it is there"
        assert reasons.count(Reason.CIRCUIT_OPEN) > 0.9 * len(reasons)
        assert asker.fallback.blocked


def test_a_refusal_of_the_sample_is_no_failure_of_the_cloud(artifact: Artifact) -> None:
    counted = Counted(refuses(grpc.StatusCode.INVALID_ARGUMENT))
    with cloud(counted) as port, fallback(port, artifact) as asker:
        outcomes = [asker.ask() for _ in range(50)]
        assert not asker.fallback.blocked
    assert len(counted.calls) == 50
    assert {(it.reason, it.error) for it in outcomes} == {(Reason.CLOUD_ERROR, "INVALID_ARGUMENT: no")}


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_a_refusal_of_us_is_asked_about_anew_and_seldom(artifact: Artifact, status: grpc.StatusCode) -> None:
    """A new connection reads certificate and token anew; until one helps there is no use in samples."""
    counted = Counted(refuses(status))
    with cloud(counted) as port, fallback(port, artifact) as asker:
        reasons = asked_often(asker)
        assert asker.fallback.blocked
    assert len(counted.calls) < 20, "one, then one whenever the server shows that it is there"
    assert set(reasons) == {Reason.CLOUD_ERROR, Reason.CIRCUIT_OPEN}


def test_a_server_whose_model_has_gone_is_asked_once(artifact: Artifact) -> None:
    gone: list[bool] = []

    def described(request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        return describe(name="other" if gone else "cloud")(request, context)

    counted = Counted(surer, refuses(grpc.StatusCode.NOT_FOUND, "no model 'cloud'"))
    with cloud(counted, described) as port, fallback(port, artifact) as asker:
        assert asker.ask().reason is Reason.CLOUD
        gone.append(True)
        assert asker.ask().error == "NOT_FOUND: no model 'cloud'"
        assert set(asked_often(asker, 0.5)) == {Reason.CIRCUIT_OPEN}
        assert len(counted.calls) == 2
        gone.clear()
        counted._infers = (surer,)
        assert asker.becomes(Reason.CLOUD)


@contextmanager
def slammed_door() -> Iterator[tuple[int, list[float]]]:
    """A port where every connection is reset as soon as it is made, and when that was."""
    knocks: list[float] = []

    def slam() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if closing:
                    return
                knocks.append(time.monotonic())

    closing: list[bool] = []
    with socket.create_server((HOST, 0)) as listener:
        thread = Thread(target=slam)
        thread.start()
        try:
            yield listener.getsockname()[1], knocks
        finally:
            closing.append(True)
            socket.create_connection(listener.getsockname()).close()
            thread.join()


def test_samples_knock_at_no_door(artifact: Artifact) -> None:
    with slammed_door() as (port, knocks), fallback(port, artifact) as asker:
        reasons = asked_often(asker, 2.0)
        assert set(reasons) == {Reason.CIRCUIT_OPEN}
        assert 0 < len(knocks) < 20


def test_a_call_that_finds_no_server_is_tried_again_in_time(artifact: Artifact) -> None:
    counted, meter = Counted(refuses(grpc.StatusCode.UNAVAILABLE), surer), Meter()
    with cloud(counted) as port, fallback(port, artifact, meter=meter) as asker:
        outcome = asker.ask()
    assert outcome.reason is Reason.CLOUD
    assert (outcome.sent, outcome.received) == (2 * SIZE, len(answer(numbers(0, 10, 0))))
    assert value(exposition(meter.registry), "tidegate_cloud_retries_total") == 1
    assert (
        value(exposition(meter.registry), "tidegate_cloud_payload_bytes_total", direction="sent") == 2 * SIZE
    )


@pytest.mark.parametrize(
    "status", [it for it in grpc.StatusCode if it not in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}]
)
def test_no_other_failure_is_tried_again(artifact: Artifact, status: grpc.StatusCode) -> None:
    counted = Counted(refuses(status), surer)
    with cloud(counted) as port, fallback(port, artifact) as asker:
        outcome = asker.ask()
    assert outcome.reason is not Reason.CLOUD
    assert (len(counted.calls), outcome.sent) == (1, SIZE)


def test_one_sample_is_tried_five_times_at_most(artifact: Artifact) -> None:
    counted = Counted(refuses(grpc.StatusCode.UNAVAILABLE))
    with cloud(counted) as port, fallback(port, artifact) as asker:
        assert asker.ask().reason is Reason.CLOUD_UNREACHABLE
        assert 1 < len(counted.calls) <= 5


@pytest.mark.parametrize(("pushback", "calls"), [("300", 2), ("-1", 1), ("soon", 1), ("600000", 1)])
def test_the_server_says_when_to_try_again_if_at_all(artifact: Artifact, pushback: str, calls: int) -> None:
    counted = Counted(refuses(grpc.StatusCode.UNAVAILABLE, pushback=pushback), surer)
    with cloud(counted) as port, fallback(port, artifact) as asker:
        outcome = asker.ask()
    assert len(counted.calls) == calls
    assert outcome.reason is (Reason.CLOUD if calls == 2 else Reason.CLOUD_UNREACHABLE)
    if calls == 2:
        assert counted.calls[1] - counted.calls[0] >= 0.3


def test_a_server_that_pushes_back_is_left_alone_for_as_long(artifact: Artifact) -> None:
    counted = Counted(refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback="700"), surer)
    with cloud(counted) as port, fallback(port, artifact) as asker:
        assert asker.ask().reason is Reason.CLOUD_SATURATED
        quiet = asker.ask()
        assert (quiet.reason, quiet.seconds) == (Reason.CLOUD_SATURATED, None)
        assert asker.becomes(Reason.CLOUD)
    assert counted.calls[1] - counted.calls[0] >= 0.7


def test_a_server_that_does_not_say_when_is_asked_again_at_once(artifact: Artifact) -> None:
    """The control of the one above."""
    counted = Counted(refuses(grpc.StatusCode.RESOURCE_EXHAUSTED), surer)
    with cloud(counted) as port, fallback(port, artifact) as asker:
        assert asker.ask().reason is Reason.CLOUD_SATURATED
        assert asker.ask().reason is Reason.CLOUD


def test_a_budget_that_is_spent_sends_nothing(artifact: Artifact) -> None:
    purse, counted = Purse(0), Counted(surer)
    with cloud(counted) as port, fallback(port, artifact, budget=purse) as asker:
        outcome = asker.ask()
    assert (outcome.reason, outcome.seconds, outcome.sent) == (Reason.BUDGET_EXHAUSTED, None, 0)
    assert counted.calls == []


@pytest.mark.parametrize("infer", [surer, refuses(grpc.StatusCode.INTERNAL), says(b"garbage")])
def test_a_charge_is_settled_once_with_all_that_crossed_the_line(
    artifact: Artifact, infer: Callable[..., bytes]
) -> None:
    purse = Purse(1000)
    with cloud(infer) as port, fallback(port, artifact, budget=purse) as asker:
        outcome = asker.ask()
    assert purse.pending == 0
    assert purse.left == 1000 - outcome.sent - outcome.received
    assert outcome.sent == SIZE


def test_the_budget_is_asked_last_but_for_a_slot(artifact: Artifact) -> None:
    held, purse = Held(), Purse(1000)
    with cloud(held) as port, fallback(port, artifact, max_inflight=1, budget=purse) as asker:
        asker.ask(seconds=-1)
        assert purse.asked == 0, "there is no time"
        asker.send()
        assert asker.ask().reason is Reason.CLOUD_SATURATED
        assert (purse.asked, purse.pending) == (2, SIZE), "without a slot it is paid back"
        held.let_go.set()
        asker.fallback._breaker.lost()
        assert asker.ask().reason is Reason.CIRCUIT_OPEN
        assert purse.asked == 2, "the circuit is open"


def test_a_circuit_that_opens_while_a_patient_deferral_waits_for_a_slot_stops_it(artifact: Artifact) -> None:
    held, purse = Held(), Purse(1000)
    counted = Counted(held)
    with cloud(counted) as port, fallback(port, artifact, max_inflight=1, budget=purse) as asker:
        asker.send()
        assert held.asked.wait(PATIENCE)
        waited: list[Answers] = []
        waiting = Thread(target=lambda: waited.append(asker.send(patient=True)))
        waiting.start()
        assert wait_until(lambda: purse.asked == 2, PATIENCE)
        asker.fallback._breaker.lost()
        held.let_go.set()
        waiting.join()
    assert [it.reason for it in waited[0].outcomes] == [Reason.CIRCUIT_OPEN]
    assert (len(counted.calls), purse.pending) == (1, 0)


@pytest.mark.parametrize(("kind", "reason"), [("audit", Reason.CLOUD), ("held", Reason.BUDGET_EXHAUSTED)])
def test_an_audit_has_a_budget_of_its_own_and_a_held_input_has_not(
    artifact: Artifact, kind: str, reason: Reason
) -> None:
    with cloud() as port, fallback(port, artifact, budget=Purse(0)) as asker:
        answers = send(asker, kind)
        assert wait_until(lambda: bool(answers.outcomes), PATIENCE)
    assert answers.outcomes[0].reason is reason


@pytest.mark.parametrize("kind", ["audit", "held"])
def test_what_yields_takes_no_slot_from_a_deferral(artifact: Artifact, kind: str) -> None:
    held = Held()
    with cloud(held) as port, fallback(port, artifact, max_inflight=2, budget=NoBudget()) as asker:
        first, second = send(asker, kind), send(asker, kind)
        assert [it.reason for it in second.outcomes] == [Reason.CLOUD_SATURATED], "one at a time"
        regular = [asker.send(), asker.send()]
        assert [it.outcomes for it in (first, *regular)] == [[], [], []]
        held.let_go.set()


@pytest.mark.parametrize("kind", ["audit", "held"])
def test_what_yields_is_not_sent_while_all_slots_are_taken(artifact: Artifact, kind: str) -> None:
    held = Held()
    with cloud(held) as port, fallback(port, artifact, max_inflight=1) as asker:
        asker.send()
        yielding = send(asker, kind)
        assert [it.reason for it in yielding.outcomes] == [Reason.CLOUD_SATURATED]
        held.let_go.set()


def test_nobody_waits_at_the_end_for_what_yields(artifact: Artifact) -> None:
    held = Held()
    with cloud(held) as port:
        with fallback(port, artifact) as asker:
            audit = asker.send(audit=True)
            assert held.asked.wait(PATIENCE)
        held.let_go.set()
    assert [it.reason for it in audit.outcomes] == [Reason.CLOUD_UNREACHABLE]


def test_a_circuit_is_closed_half_open_or_open_to_prometheus(artifact: Artifact) -> None:
    meter, free = Meter(), Event()
    free.set()

    def described(request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        free.wait(PATIENCE)
        return describe()(request, context)

    with cloud(described=described) as port, fallback(port, artifact, meter=meter) as asker:

        def state() -> float:
            return value(exposition(meter.registry), "tidegate_circuit_state")

        assert state() == 0
        free.clear()
        asker.fallback._prober.lose("a test")
        assert state() == 2
        free.set()
        assert wait_until(lambda: state() == 1, PATIENCE), "seen, and not tried yet"
        assert asker.fallback.blocked
        assert [asker.ask().reason for _ in range(2)] == [Reason.CLOUD] * 2
        assert state() == 0
