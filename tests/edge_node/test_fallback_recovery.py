"""A cloud that is absent, dies, hangs or comes back as another: found again, and held to its model."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event

import grpc
import pytest

from deploy.demo.processes import wait_until
from edge_node.fallback.prober import FIRST_LOOK, LOOK
from protos import inference_pb2 as pb
from protos.artifact import Artifact
from protos.result import Reason
from tests.edge_node.asking import fallback
from tests.edge_node.clouds import HOST, Context, cloud, describe
from tests.models import cloud_artifact, edge_artifact
from tests.nodes import PATIENCE
from tests.ports import free_port

MINE, OTHER = "1" * 64, "2" * 64


@pytest.fixture(name="free_port")
def port_without_a_server() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pledged(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An edge artifact that names its cloud model by digest."""
    folder = tmp_path_factory.mktemp("pledged")
    return edge_artifact(folder / "edge", cloud_artifact(folder / "cloud"))


@pytest.fixture
def own(pledged: Artifact) -> str:
    """The digest that it names."""
    assert pledged.manifest.cloud
    return pledged.manifest.cloud.sha256


def lost(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """What was said of a lost cloud."""
    return (record.getMessage() for record in caplog.records if "is lost" in record.getMessage())


def test_a_cloud_that_is_not_there_is_sent_nothing(artifact: Artifact, free_port: int) -> None:
    with fallback(free_port, artifact) as asker:
        outcome = asker.ask()
    assert (outcome.reason, outcome.seconds) == (Reason.CIRCUIT_OPEN, None)
    assert outcome.error is not None
    assert "refused" in outcome.error


def test_a_cloud_that_appears_later_is_used(artifact: Artifact, free_port: int) -> None:
    with fallback(free_port, artifact) as asker:
        assert asker.ask().reason is Reason.CIRCUIT_OPEN
        with cloud(port=free_port):
            assert asker.becomes(Reason.CLOUD)


def test_a_cloud_that_dies_is_left_alone_and_used_again_when_it_is_back(artifact: Artifact) -> None:
    with ExitStack() as first:
        port = first.enter_context(cloud())
        with fallback(port, artifact) as asker:
            assert asker.ask().reason is Reason.CLOUD
            first.close()
            assert asker.becomes(Reason.CIRCUIT_OPEN)
            assert asker.ask().seconds is None, "a lost cloud is sent nothing"
            with cloud(port=port):
                assert asker.becomes(Reason.CLOUD)


def test_a_lost_cloud_is_said_once_however_often_it_is_asked(
    artifact: Artifact, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with fallback(free_port, artifact) as asker:
        for _ in range(50):
            asker.ask()
    (said,) = lost(caplog)
    assert said.startswith(f"cloud {HOST}:{free_port} is lost: UNAVAILABLE: ")


def test_a_cloud_that_is_found_is_said(
    artifact: Artifact, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with fallback(free_port, artifact) as asker, cloud(port=free_port):
        assert asker.becomes(Reason.CLOUD)
        assert asker.becomes(Reason.CLOUD)
    assert f"cloud {HOST}:{free_port} serves cloud" in caplog.messages


def test_a_cloud_that_comes_back_as_another_model_is_not_used(pledged: Artifact, own: str) -> None:
    with ExitStack() as first:
        port = first.enter_context(cloud(sha256=own))
        with fallback(port, pledged) as asker:
            assert asker.ask().reason is Reason.CLOUD
            first.close()
            assert asker.becomes(Reason.CIRCUIT_OPEN)
            with cloud(sha256=OTHER, port=port):
                assert wait_until(lambda: OTHER in str(asker.ask().error), PATIENCE)
                assert own in str(asker.ask().error)


def test_not_one_answer_of_another_model_is_taken(pledged: Artifact, own: str) -> None:
    """The server is replaced while nothing is in flight: no failed call tells of it."""
    with ExitStack() as first:
        port = first.enter_context(cloud(sha256=own))
        with fallback(port, pledged) as asker:
            assert asker.ask().reason is Reason.CLOUD
            first.close()
            with cloud(sha256=OTHER, port=port):
                assert asker.ask().reason is not Reason.CLOUD
                assert asker.becomes(Reason.CIRCUIT_OPEN)


def test_the_right_model_is_used_again_after_a_wrong_one(pledged: Artifact, own: str) -> None:
    with ExitStack() as wrong:
        port = wrong.enter_context(cloud(sha256=own))
        with fallback(port, pledged) as asker:
            wrong.close()
            with cloud(sha256=OTHER, port=port):
                assert asker.becomes(Reason.CIRCUIT_OPEN)
            with cloud(sha256=own, port=port):
                assert asker.becomes(Reason.CLOUD)


def test_a_cloud_that_hangs_from_the_start_does_not_hold_up_the_node(artifact: Artifact) -> None:
    released = Event()

    def hangs(request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        released.wait(PATIENCE)
        return describe()(request, context)

    with cloud(described=hangs) as port, fallback(port, artifact, look=FIRST_LOOK) as asker:
        outcome = asker.ask()
        released.set()
        assert asker.becomes(Reason.CLOUD)
    assert (outcome.reason, outcome.seconds) == (Reason.CIRCUIT_OPEN, None)


def test_a_server_without_the_call_for_metadata_is_an_error(artifact: Artifact) -> None:
    def unknown(_: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "what?")
        raise AssertionError  # abort raises

    with cloud(described=unknown) as port, fallback(port, artifact) as asker:
        outcome = asker.ask()
    assert (outcome.reason, outcome.error) == (Reason.CIRCUIT_OPEN, "UNIMPLEMENTED: what?")


def test_a_node_stops_at_once_while_the_cloud_hangs(artifact: Artifact) -> None:
    released, hanging, asked = Event(), Event(), Event()

    def hangs(request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        if hanging.is_set():
            asked.set()
            released.wait(PATIENCE)
        return describe()(request, context)

    with cloud(described=hangs) as port:
        with fallback(port, artifact) as asker:
            hanging.set()
            asker.fallback._prober.lose("a test")
            assert asked.wait(PATIENCE)
            stopping = time.monotonic()
        assert time.monotonic() - stopping < LOOK
        released.set()


def test_a_look_on_a_connection_that_has_just_been_closed_finds_nothing(artifact: Artifact) -> None:
    """As it happens to a node that stops while it looks; gRPC crashes if a stub is made then."""
    with cloud() as port, fallback(port, artifact) as asker:
        prober = asker.fallback._prober
        prober._renewed()
        prober._disconnect()
        assert not prober._look(LOOK)
