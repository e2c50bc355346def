"""Every way in which a call to the cloud can end is one outcome with a reason, by the deadline."""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.fallback.answer import NoAnswer, parse, read
from edge_node.metrics import Meter
from protos import codec
from protos.artifact import Artifact
from protos.codec import Tensor
from protos.result import Reason
from tests.edge_node.asking import fallback
from tests.edge_node.clouds import Counted, Held, answer, cloud, numbers, refuses, says
from tests.fakes import Answers
from tests.ledger import exposition, value

MAPPED = {
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.CLOUD_TIMEOUT,
    grpc.StatusCode.UNAVAILABLE: Reason.CLOUD_UNREACHABLE,
    grpc.StatusCode.CANCELLED: Reason.CLOUD_UNREACHABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.CLOUD_SATURATED,
}
REFUSALS = [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK]


def test_the_cloud_s_answer_is_its_top_class_and_confidence(artifact: Artifact) -> None:
    with cloud() as port, fallback(port, artifact) as asker:
        outcome = asker.ask(numbers(0, 0.1, 0.2))
    assert (outcome.reason, outcome.class_index, outcome.error) == (Reason.CLOUD, 2, None)
    assert outcome.confidence == pytest.approx(1 / (1 + np.exp(-1) + np.exp(-2)))
    assert outcome.seconds is not None
    assert outcome.seconds > 0


@pytest.mark.parametrize("status", REFUSALS, ids=lambda status: status.name)
def test_every_status_becomes_a_reason(artifact: Artifact, status: grpc.StatusCode) -> None:
    with cloud(refuses(status, "not today")) as port, fallback(port, artifact) as asker:
        outcome = asker.ask()
    assert outcome.reason is MAPPED.get(status, Reason.CLOUD_ERROR)
    assert outcome.error == f"{status.name}: not today"


def test_a_cloud_that_never_answers_is_a_timeout_at_the_deadline(artifact: Artifact) -> None:
    held = Held()
    counted = Counted(held)
    with cloud(counted) as port:
        with fallback(port, artifact) as asker:
            start = time.monotonic()
            outcome = asker.ask(seconds=1.0)
            assert time.monotonic() - start >= 1.0
        held.let_go.set()
    assert outcome.reason is Reason.CLOUD_TIMEOUT
    assert outcome.seconds is not None
    assert outcome.seconds >= start + 1.0 - counted.calls[0]


def test_a_deadline_that_has_passed_sends_nothing(artifact: Artifact) -> None:
    with cloud() as port, fallback(port, artifact) as asker:
        outcome = asker.ask(seconds=-1)
    assert (outcome.reason, outcome.seconds) == (Reason.CLOUD_TIMEOUT, None)


@pytest.mark.parametrize(
    ("logits", "problem"),
    [
        (np.zeros((1, 4), np.float32), "the cloud answered float32 [1, 4], not [1, 3] logits"),
        (np.zeros((2, 3), np.float32), "the cloud answered float32 [2, 3], not [1, 3] logits"),
        (np.zeros(3, np.float32), "the cloud answered float32 [3], not [1, 3] logits"),
        (np.zeros((1, 3), np.int64), "the cloud answered int64 [1, 3], not [1, 3] logits"),
        (np.array([[b"a", b"b", b"c"]], object), "the cloud answered object [1, 3], not [1, 3] logits"),
        (numbers(0, np.nan, 0), "the cloud answered NaN or infinity"),
        (numbers(0, np.inf, 0), "the cloud answered NaN or infinity"),
        (np.array([[0, 1e300, 0]]), "the cloud answered NaN or infinity"),
    ],
)
def test_an_answer_that_is_none_is_an_error(artifact: Artifact, logits: Tensor, problem: str) -> None:
    with cloud(says(answer(logits))) as port, fallback(port, artifact) as asker:
        outcome = asker.ask()
    assert (outcome.reason, outcome.error) == (Reason.CLOUD_ERROR, problem)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_logits_of_any_float_are_an_answer(artifact: Artifact, dtype: type, *, typed: bool) -> None:
    logits: Tensor = numbers(0, 0, 9).astype(dtype)
    response = codec.response("cloud", "1", "", {"any_name": logits}, typed=typed).SerializeToString()
    with cloud(says(response)) as port, fallback(port, artifact) as asker:
        assert asker.ask().class_index == 2


@pytest.mark.parametrize("response", [b"\xff\xff", b"hello", answer(numbers(1, 2, 3))[:-2]])
def test_bytes_that_are_no_response_are_an_error(artifact: Artifact, response: bytes) -> None:
    with cloud(says(response)) as port, fallback(port, artifact) as asker:
        outcome = asker.ask()
    assert outcome.reason is Reason.CLOUD_ERROR
    assert outcome.error is not None
    assert outcome.error.startswith("malformed response: ")


def test_an_empty_response_is_an_error(artifact: Artifact) -> None:
    with cloud(says(b"")) as port, fallback(port, artifact) as asker:
        assert asker.ask().error == "the cloud answered float64 [0], not [1, 3] logits"


@given(st.data())
def test_a_damaged_response_is_an_answer_or_none(data: st.DataObject) -> None:
    response = bytearray(answer(numbers(1, 2, 3)))
    for _ in range(data.draw(st.integers(1, 3))):
        response[data.draw(st.integers(0, len(response) - 1))] = data.draw(st.integers(0, 255))
    with suppress(NoAnswer):
        class_index, confidence = read(parse(bytes(response)), 3)
        assert 0 <= class_index < 3
        assert 0 < confidence <= 1


def test_a_call_beyond_the_bound_is_saturated_at_once(artifact: Artifact) -> None:
    held = Held()
    with cloud(held) as port, fallback(port, artifact, max_inflight=2) as asker:
        first, second, third = asker.send(), asker.send(), asker.send()
        assert [outcome.reason for outcome in third.outcomes] == [Reason.CLOUD_SATURATED]
        assert first.outcomes == second.outcomes == []
        held.let_go.set()


def test_a_patient_call_waits_for_a_slot(artifact: Artifact) -> None:
    held = Held()
    with cloud(held) as port, fallback(port, artifact, max_inflight=1) as asker:
        asker.send()
        answers: list[Answers] = []
        waiting = Thread(target=lambda: answers.append(asker.send(patient=True)))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        held.let_go.set()
        waiting.join()
    assert answers[0].outcomes[0].reason is Reason.CLOUD


def test_a_patient_call_without_a_slot_by_its_deadline_is_saturated(artifact: Artifact) -> None:
    held = Held()
    with cloud(held) as port, fallback(port, artifact, max_inflight=1) as asker:
        asker.send()
        late = asker.send(seconds=0.1, patient=True)
        assert [outcome.reason for outcome in late.outcomes] == [Reason.CLOUD_SATURATED]
        held.let_go.set()


def test_no_more_calls_are_in_flight_than_the_bound(artifact: Artifact) -> None:
    held = Held()
    held.let_go.set()
    with cloud(held) as port, fallback(port, artifact, max_inflight=3) as asker:
        sent = [asker.send(patient=True) for _ in range(60)]
    assert held.most <= 3
    assert {answers.outcomes[0].reason for answers in sent} == {Reason.CLOUD}


def test_leaving_waits_for_the_calls_in_flight(artifact: Artifact) -> None:
    held = Held()
    with cloud(held) as port:
        with fallback(port, artifact) as asker:
            answers = asker.send()
            held.let_go.set()
        assert [outcome.reason for outcome in answers.outcomes] == [Reason.CLOUD]


def metered(artifact: Artifact, ask: Callable[[], bytes]) -> str:
    """`/metrics` after one call that is answered with ``ask()``."""
    meter = Meter()
    with cloud(lambda _request, _context: ask()) as port, fallback(port, artifact, meter=meter) as asker:
        asker.ask()
    return exposition(meter.registry)


def test_bytes_and_time_of_a_call_are_counted(artifact: Artifact) -> None:
    response = answer(numbers(1, 2, 3))
    metrics = metered(artifact, lambda: response)
    assert value(metrics, "tidegate_cloud_payload_bytes_total", direction="sent") == 12
    assert value(metrics, "tidegate_cloud_payload_bytes_total", direction="received") == len(response)
    assert value(metrics, "tidegate_stage_duration_seconds_count", stage="cloud") == 1
    assert value(metrics, "tidegate_deferrals_in_flight") == 0
