"""What the demo says of the certificate after a run."""

from typing import Any

import pytest

from deploy.demo import promise
from deploy.demo.comparison import Column, Comparison
from deploy.demo.figures import Figures, Judge
from deploy.demo.link import Counts
from deploy.demo.scenario import Scenario, Stream
from deploy.demo.wrist import HERE
from tests.results import numbered

NOTHING = Counts(0, 0, 0)


def comparison(hybrid: int, cloud: int, of: int = 100, **scenario: Any) -> Comparison:
    """Of so many samples each column got so many right."""
    stream = Stream("a", {}, of, {})
    told = Scenario(
        "x",
        "X",
        **{"edge": HERE / "edge", "cloud": HERE / "cloud", "streams": (stream,), "rate": 1.0, **scenario},
    )
    right = {"edge-only": 0, "hybrid": hybrid, "cloud-only": cloud}
    columns = [
        Column(site, Figures(numbered(of), _first(count)), NOTHING, NOTHING) for site, count in right.items()
    ]
    return Comparison(told, columns)


def _first(count: int) -> Judge:
    return lambda result: result.seq < count


@pytest.mark.parametrize(
    ("hybrid", "cloud", "words"),
    [
        (87, 90, "kept it: the hybrid was 3.0 points below cloud-only"),
        (86, 90, "did NOT keep it: the hybrid was 4.0 points below cloud-only"),
        (92, 90, "kept it: the hybrid was 2.0 points above cloud-only"),
        (90, 90, "kept it: the hybrid did as well as cloud-only"),
    ],
)
def test_a_run_is_held_to_the_promise(hybrid: int, cloud: int, words: str) -> None:
    assert words in promise.kept(comparison(hybrid, cloud))


def test_what_weakens_the_promise_is_told_with_it() -> None:
    assert "Note: the promise is for further samples of these 33 groups" in promise.kept(comparison(90, 90))


def test_without_labels_nothing_is_claimed_of_the_run() -> None:
    unlabelled = (Stream("a", {}, 100, None),)
    told = promise.kept(comparison(0, 0, streams=unlabelled))
    assert "This run" not in told
    assert "confidence" in told


def test_an_artifact_without_a_certificate_promises_nothing() -> None:
    assert "none" in promise.kept(comparison(0, 0, edge=HERE / "cloud"))
