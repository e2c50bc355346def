"""What watches over a gate, from settings and artifact."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_node.config import EdgeConfig, Gate
from edge_node.errors import NodeError
from edge_node.gate.assemble import AUDITED, buckets, oversee
from edge_node.gate.ground import Ground
from edge_node.gate.oversight import Certified, Oversight, Paced, Uncontrolled
from edge_node.gate.policy import make_gate
from protos.artifact import Artifact
from protos.result import Reason
from protos.score import Energy
from tests.gate.test_certificate import certified
from tests.models import edge_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return certified(tmp_path_factory.mktemp("certified"), threshold=0.5)


def overseen(artifact: Artifact, **sections: Any) -> Oversight:
    """By settings with these sections."""
    told = {
        "node": {"site": "lab", "name": "a"},
        "model": {"path": artifact.directory},
        "cloud": {"target": "x:1", "model": "cloud"},
    }
    settings = msgspec.convert(told | sections, EdgeConfig)
    return oversee(settings, artifact, make_gate(settings.gate, artifact), lambda: False)


def test_a_certificate_is_watched_over_and_nothing_else_is(artifact: Artifact, tmp_path: Path) -> None:
    plain = edge_artifact(tmp_path / "plain")
    assert overseen(artifact).audit.share == AUDITED
    assert overseen(plain).audit.share == 0
    assert overseen(plain, audit={"share": 0.1}).audit.share == 0.1
    assert overseen(artifact, audit={"share": 0.1}, cloud=None).audit.share == 0, "there is nobody to ask"


@pytest.mark.parametrize("gate", [{"threshold": 0.5}, {"policy": "always_edge"}])
def test_what_the_settings_decide_is_not_what_was_certified(artifact: Artifact, gate: dict[str, Any]) -> None:
    assert overseen(artifact).standing.ground is Ground.VALID
    assert overseen(artifact, gate=gate).standing.ground is Ground.NONE


def test_a_certificate_that_does_not_fit_is_not_watched_over(artifact: Artifact, tmp_path: Path) -> None:
    other = certified(tmp_path, threshold=0.4)
    found = overseen(Artifact(artifact.directory, other.manifest))
    assert (found.standing.ground, found.audit.share) == (Ground.MISMATCH, 0)


@pytest.mark.parametrize(("days", "ground"), [(None, Ground.VALID), (3, Ground.VALID), (1, Ground.EXPIRED)])
def test_it_is_believed_as_long_as_the_settings_say(
    tmp_path: Path, days: float | None, ground: Ground
) -> None:
    old = certified(tmp_path, made_at=datetime.now(UTC) - timedelta(days=2))
    assert overseen(old, certificate={"max_age": days}).standing.ground is ground


@pytest.mark.parametrize(("scene", "ground"), [(0, Ground.DRIFT), (1e9, Ground.VALID)])
def test_one_long_scene_is_no_drift(artifact: Artifact, scene: float, ground: Ground) -> None:
    standing = overseen(artifact, certificate={"scene": scene}).standing
    for _ in range(200):
        standing.watched(0.9, disagrees=True)
    assert standing.ground is ground


@pytest.mark.parametrize(("limit", "ground"), [(None, Ground.UNSERVED), (0.5, Ground.VALID)])
def test_what_is_accepted_is_the_operator_s_say(
    artifact: Artifact, limit: float | None, ground: Ground
) -> None:
    found = overseen(artifact, certificate={"limit": limit, "on_alarm": "hold"})
    for number in range(100):
        found.standing.served(Reason.CLOUD_TIMEOUT if number % 2 else None)
    assert found.standing.ground is ground


BUDGETS: list[dict[str, Any]] = [{"offload_share": 0.2}, {"bytes_per_second": 5}, {"bytes_per_day": 1e5}]


@pytest.mark.parametrize("budget", [{}, *BUDGETS, {"offload_share": 0.9} | BUDGETS[2]])
def test_any_budget_slows_the_pace_and_the_scarcest_leads(
    artifact: Artifact, budget: dict[str, float]
) -> None:
    """A thousand unsure samples at once: without a budget all of them go."""
    pace = overseen(artifact, budget=budget | {"mode": "budget-first"}).pace
    assert isinstance(pace, Paced if budget else Certified)
    unsure = make_gate(Gate(), artifact).decide(np.zeros(3, np.float32))
    sent = sum(not pace.accepts(unsure, 12) for _ in range(1000))
    assert sent < 300 if budget else sent == 1000


def test_without_a_certificate_a_budget_takes_a_score_with_bounds(tmp_path: Path) -> None:
    plain = edge_artifact(tmp_path / "edge")
    assert isinstance(overseen(plain).pace, Uncontrolled)
    assert isinstance(overseen(plain, budget=BUDGETS[0]).pace, Paced)
    unbound = certified(tmp_path, score=Energy())
    with pytest.raises(NodeError, match="the score of this artifact has no bounds: certify it"):
        overseen(unbound, budget=BUDGETS[0], gate={"threshold": 1.0})


def test_buckets_are_those_that_are_set() -> None:
    assert buckets(None).take(1e12)
    assert not buckets(2400.0).take(101)
    assert not buckets(None, 10.0).take(601)
    both = buckets(2400.0, 10.0)
    assert both.take(100)
    assert not both.take(1)
