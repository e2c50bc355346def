"""Thousands of requests that mean harm, by every way in: none has an effect, and who plants one finds it."""

from pathlib import Path

import pytest

from tests.cloud_server.hostile import heavies
from tests.cloud_server.striking import PLANTED, Found, campaign, target

MEMORY = 1500
"""MiB: what the server may have at most; idle it has a hundred, and a photo takes four hundred."""


def test_thousands_of_attacks_have_no_effect(tmp_path: Path, models: dict[str, Path]) -> None:
    with target(tmp_path, list(models.values())) as striker:
        campaign(striker, 400, start=1, mutants=3)
        assert striker.tally.total() > 1500
        assert striker.log() == []
        assert striker.peak() < MEMORY


def test_the_heaviest_attacks_take_no_more_memory_than_they_may(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    with target(tmp_path, list(models.values())) as striker:
        for attack in heavies():
            striker.strike(attack)
        assert striker.log() == []
        assert striker.peak() < MEMORY


@pytest.mark.slow
def test_a_hundred_thousand_attacks_have_no_effect(tmp_path: Path, models: dict[str, Path]) -> None:
    """Slow: `docs/reports/hostile-input.md` has the figures."""
    with target(tmp_path, list(models.values())) as striker:
        for start in range(10):
            campaign(striker, 500, start, mutants=8)
        assert striker.tally.total() > 100_000
        assert striker.log() == []
        assert striker.peak() < MEMORY


def test_a_planted_mistake_is_found(tmp_path: Path, models: dict[str, Path]) -> None:
    with target(tmp_path, list(models.values()), PLANTED) as striker:
        with pytest.raises(Found, match=r"INTERNAL|500"):
            campaign(striker, 1200, start=1)
        assert any("Traceback" in line for line in striker.log())
