"""However the cloud fails: every sample is answered in time, the cloud is left alone, and found again."""

from pathlib import Path

import pytest

from deploy.demo.processes import wait_until
from edge_node.node import EdgeNode
from protos.artifact import Artifact, load
from protos.result import Reason
from tests.chaos.cloud_stand import DEADLINE, FAULTS, Plain, feed, recovery, stand
from tests.integration.fleet import artifacts
from tests.nodes import PATIENCE, opened, settings

BACK = 10.0
"""Seconds within which a cloud that is back has to be seen."""
GRACE = 0.01
"""Seconds after the deadline by which a sample has its answer."""


@pytest.fixture
def edge(tmp_path: Path) -> Artifact:
    return load(artifacts(tmp_path).joinpath("edge"))


def works(node: EdgeNode) -> bool:
    """Whether edge and cloud answer every sample, or soon do: a busy machine may be saturated at first."""
    return wait_until(lambda: feed(node, 0.5).reasons() == {Reason.CONFIDENT, Reason.CLOUD}, PATIENCE)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_sample_is_answered_in_time_and_the_cloud_is_found_again(
    tmp_path: Path, edge: Artifact, fault: str
) -> None:
    with stand(tmp_path, fault) as cloud:
        to = {"target": cloud.target, "deadline": DEADLINE}
        with opened(settings(tmp_path, edge, cloud=to)) as node:
            assert works(node), "the control: without the fault"
            cloud.strike()
            during = feed(node, 3.0)
            cloud.heal()
            recovery(node, BACK)
            assert works(node)
    assert during.lateness() <= GRACE + during.overslept
    assert Reason.CIRCUIT_OPEN in during.reasons()
    assert Reason.CONFIDENT in during.reasons()


@pytest.mark.usefixtures("edge")  # its cloud is what runs
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_to_whoever_does_not_expect_it(tmp_path: Path, fault: str) -> None:
    """The control: the same faults, and a client that does none of what ours does."""
    with stand(tmp_path, fault) as cloud, Plain(cloud) as client:
        assert client.answered(PATIENCE)
        cloud.strike()
        assert not client.answered(DEADLINE + GRACE)
        cloud.heal()
