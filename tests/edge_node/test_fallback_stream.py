"""Where the cloud has streams, requests share one; and whatever happens to it, nothing else changes."""

import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from deploy.demo.processes import wait_until
from edge_node.metrics import Meter
from protos import inference_pb2 as pb
from protos import timing
from protos.artifact import Artifact
from protos.identity import MODEL_SHA256
from protos.result import Reason
from tests.edge_node.asking import fallback
from tests.edge_node.clouds import Context, Counted, Held, Streams, answer, cloud, numbers, refuses, surer
from tests.ledger import exposition, value
from tests.models import cloud_artifact, edge_artifact
from tests.nodes import PATIENCE

Change = Callable[[bytes], bytes]


def changed(change: Callable[[pb.ModelStreamInferResponse], None]) -> Change:
    """An answer that is another one."""

    def apply(message: bytes) -> bytes:
        said = pb.ModelStreamInferResponse.FromString(message)
        change(said)
        return said.SerializeToString()

    return apply


def test_requests_one_after_another_share_one_call(artifact: Artifact) -> None:
    streams, calls = Streams(), Counted(surer)
    with cloud(calls, streams=streams) as port, fallback(port, artifact) as asker:
        outcomes = [asker.ask(numbers(*row)) for row in ((0, 1, 0), (0, 0, 1), (1, 0, 0)) * 5]
    assert [(it.reason, it.class_index) for it in outcomes] == [(Reason.CLOUD, it) for it in (1, 2, 0) * 5]
    assert (streams.opened, streams.asked, len(calls.calls)) == (1, 15, 0)


def test_the_control_a_server_that_says_nothing_of_streams_is_sent_none(artifact: Artifact) -> None:
    calls = Counted(surer)
    with cloud(calls) as port, fallback(port, artifact) as asker:
        assert asker.ask().reason is Reason.CLOUD
    assert len(calls.calls) == 1


def test_a_request_says_how_long_somebody_waits_for_it(artifact: Artifact) -> None:
    asked: list[tuple[str, float, float]] = []

    def infer(request: pb.ModelInferRequest, context: Context) -> bytes:
        said = request.parameters["timeout"].int64_param / 1e6
        asked.append((request.id, said, began + PATIENCE - time.monotonic()))
        return surer(request, context)

    with cloud(streams=Streams(infer)) as port, fallback(port, artifact) as asker:
        began = time.monotonic()
        asker.ask()
        asker.ask()
    assert [name for name, *_ in asked] == ["id#1", "id#2"]
    assert all(left - 1e-6 <= said <= PATIENCE for _, said, left in asked)


def test_who_comes_while_the_stream_is_busy_has_a_call_of_its_own(artifact: Artifact) -> None:
    held, calls = Held(), Counted(surer)
    with cloud(calls, streams=Streams(held)) as port, fallback(port, artifact) as asker:
        first = asker.send()
        assert held.asked.wait(PATIENCE)
        assert asker.ask().reason is Reason.CLOUD
        assert (first.outcomes, len(calls.calls)) == ([], 1)
        held.let_go.set()


def test_each_answer_is_its_own_by_stream_and_call_alike(artifact: Artifact) -> None:
    streams, calls = Streams(), Counted(surer)
    rows = [((1, 0, 0), (0, 1, 0), (0, 0, 1))[number % 3] for number in range(150)]
    with cloud(calls, streams=streams) as port, fallback(port, artifact) as asker:
        sent = [asker.send(numbers(*row), patient=True) for row in rows]
    assert [it.outcomes[0].class_index for it in sent] == [row.index(1) for row in rows]
    assert {it.outcomes[0].reason for it in sent} == {Reason.CLOUD}
    assert streams.asked + len(calls.calls) == len(rows)
    assert streams.asked
    assert calls.calls


def test_an_answer_that_is_late_is_dropped_and_the_stream_goes_on(artifact: Artifact) -> None:
    held, calls = Held(), Counted(surer)
    streams = Streams(held)
    with cloud(calls, streams=streams) as port, fallback(port, artifact) as asker:
        began = time.monotonic()
        late = asker.ask(numbers(1, 0, 0), seconds=0.2)
        assert (late.reason, late.error) == (Reason.CLOUD_TIMEOUT, "DEADLINE_EXCEEDED: Deadline Exceeded")
        assert time.monotonic() - began >= 0.2
        held.let_go.set()

        def over_the_stream() -> bool:
            before = streams.asked
            outcome = asker.ask(numbers(0, 0, 1))
            assert (outcome.reason, outcome.class_index) == (Reason.CLOUD, 2), "never the late one"
            return streams.asked > before

        assert wait_until(over_the_stream, PATIENCE)
    assert streams.opened == 1


def test_deadlines_are_kept_in_any_order(artifact: Artifact) -> None:
    """A short one after a long one, and the other way round: each is woken for."""
    held = Held()
    streams = Streams(surer)
    with cloud(streams=streams) as port, fallback(port, artifact) as asker:
        asker.ask(seconds=0.3)
        asker.ask(seconds=PATIENCE)
        streams.infer = held
        began = time.monotonic()
        assert asker.ask(seconds=0.1).reason is Reason.CLOUD_TIMEOUT
        assert time.monotonic() - began < PATIENCE / 2
        held.let_go.set()


@pytest.mark.parametrize("status", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_cloud_that_declines_a_stream_gets_calls(artifact: Artifact, status: grpc.StatusCode) -> None:
    streams, calls, meter = Streams(), Counted(surer), Meter()
    streams.refuse = status
    with cloud(calls, streams=streams) as port, fallback(port, artifact, meter=meter) as asker:
        assert {asker.ask().reason for _ in range(10)} == {Reason.CLOUD}
        assert not asker.fallback.blocked
    assert (streams.opened, len(calls.calls)) == (1, 10)
    assert value(exposition(meter.registry), "tidegate_cloud_retries_total") == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"\xff\xff",
        lambda _: answer(numbers(9, 0, 0)),  # as MLServer: a response where one in a frame belongs
        changed(lambda it: setattr(it.infer_response, "id", "another")),
        changed(lambda it: it.infer_response.ClearField("id")),
    ],
    ids=["garbage", "no frame", "another id", "no id"],
)
def test_what_answers_something_else_is_no_stream(artifact: Artifact, change: Change) -> None:
    streams, calls = Streams(change=change), Counted(surer)
    with cloud(calls, streams=streams) as port, fallback(port, artifact) as asker:
        outcomes = [asker.ask(numbers(0, 0, 1)) for _ in range(3)]
    assert {(it.reason, it.class_index) for it in outcomes} == {(Reason.CLOUD, 2)}
    assert (streams.opened, streams.asked, len(calls.calls)) == (1, 1, 3)


def test_a_stream_that_breaks_is_an_unavailable_cloud_and_tried_again(artifact: Artifact) -> None:
    meter = Meter()
    streams = Streams(Counted(surer, refuses(grpc.StatusCode.INTERNAL), surer))
    with cloud(streams=streams) as port, fallback(port, artifact, meter=meter) as asker:
        assert asker.ask().reason is Reason.CLOUD
        outcome = asker.ask()
        assert (outcome.reason, outcome.sent) == (Reason.CLOUD, 2 * 12)
        assert asker.ask().reason is Reason.CLOUD
    assert value(exposition(meter.registry), "tidegate_cloud_retries_total") == 1
    assert streams.opened == 2, "a stream that has been of use is opened anew"


def test_a_stream_that_breaks_at_its_first_request_is_the_last(artifact: Artifact) -> None:
    streams, calls = Streams(refuses(grpc.StatusCode.INTERNAL)), Counted(surer)
    with cloud(calls, streams=streams) as port, fallback(port, artifact) as asker:
        assert {asker.ask().reason for _ in range(3)} == {Reason.CLOUD}
    assert (streams.opened, len(calls.calls)) == (1, 3)


@pytest.mark.parametrize(
    ("said", "reason", "error"),
    [
        ("RESOURCE_EXHAUSTED: full", Reason.CLOUD_SATURATED, "RESOURCE_EXHAUSTED: full"),
        ("DEADLINE_EXCEEDED: over", Reason.CLOUD_TIMEOUT, "DEADLINE_EXCEEDED: over"),
        ("INVALID_ARGUMENT: bad: very", Reason.CLOUD_ERROR, "INVALID_ARGUMENT: bad: very"),
        ("[request id: 7] bad", Reason.CLOUD_ERROR, "UNKNOWN: [request id: 7] bad"),
    ],
)
def test_an_error_in_a_stream_is_what_it_would_be_of_a_call(
    artifact: Artifact, said: str, reason: Reason, error: str
) -> None:
    streams = Streams(change=changed(lambda it: setattr(it, "error_message", said)))
    with cloud(streams=streams) as port, fallback(port, artifact) as asker:
        outcome = asker.ask()
    assert (outcome.reason, outcome.error) == (reason, error)


def facts(**said: str) -> Change:
    def say(message: pb.ModelStreamInferResponse) -> None:
        for name, it in said.items():
            message.infer_response.parameters[name.replace("_", "-")].string_param = it

    return changed(say)


def test_another_model_in_a_stream_is_not_believed(tmp_path: Path) -> None:
    pledged = edge_artifact(tmp_path / "edge", cloud_artifact(tmp_path / "cloud"))
    assert pledged.manifest.cloud
    own = pledged.manifest.cloud.sha256
    streams = Streams(change=facts(**{MODEL_SHA256: own}))
    with cloud(sha256=own, streams=streams) as port, fallback(port, pledged) as asker:
        assert asker.ask().reason is Reason.CLOUD
        streams.change = facts(**{MODEL_SHA256: "2" * 64})
        assert "2" * 64 in str(asker.ask().error)
        assert asker.becomes(Reason.CIRCUIT_OPEN)


def test_where_the_time_went_is_in_the_parameters(artifact: Artifact) -> None:
    meter = Meter()
    streams = Streams(change=facts(**timing.facts(queue=0.001, compute=0.002)))
    with cloud(streams=streams) as port, fallback(port, artifact, meter=meter) as asker:
        asker.ask()
    said = exposition(meter.registry)
    assert value(said, "tidegate_stage_duration_seconds_count", stage="cloud_compute") == 1
    assert value(said, "tidegate_stage_duration_seconds_sum", stage="cloud_compute") == pytest.approx(0.002)


def test_who_yields_is_cancelled_in_the_stream_too(artifact: Artifact) -> None:
    held = Held()
    with cloud(streams=Streams(held)) as port:
        with fallback(port, artifact) as asker:
            yielding = asker.send(audit=True)
            assert held.asked.wait(PATIENCE)
        assert [it.reason for it in yielding.outcomes] == [Reason.CLOUD_UNREACHABLE]
        held.let_go.set()
