"""Wall clocks that jump: no result is dropped for an age that it does not have, none is out of order."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import environment
from tests.services import require

DAY = 86_400
HOUR = 3600
LIFE = """
import json, sys, time
from pathlib import Path
from edge_node.outbox import clock
from protos import result as contract
from tests.outboxes import box

if sys.argv[2] == "wall":
    clock._CLOCK = time.CLOCK_REALTIME
with box(Path(sys.argv[1]), max_age=3600) as outbox:
    before = time.time()
    for _ in range(5):
        outbox.put(2)
        outbox.settle()
    results = [contract.decode(row.payload) for row in outbox.rows(-1, 999)]
    print(json.dumps({
        "wall": [before, time.time()], "age": outbox.depth().age, "session": outbox.session,
        "early": outbox.dropped("age"), "seqs": [it.seq for it in results], "ids": [it.id for it in results],
    }))
"""


def life(folder: Path, clock: str, measure: str = "boot") -> Any:
    """A run of an outbox by another wall clock: what it saw of it, and what it made of it."""
    fake = [str(require("faketime")), "-m", "--exclude-monotonic", "-f", clock]
    command = [*fake, sys.executable, "-c", LIFE, str(folder), measure]
    ended = subprocess.run(command, capture_output=True, check=False, text=True, env=environment())
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    "clocks",
    [
        ["+0", f"+{DAY}s", "+0"],
        ["+0", f"-{DAY}s", "+0"],
        [f"+{365 * DAY}s", "+0"],
        ["+0", "@2038-01-19 03:14:07", "+0"],
        ["-0 i-1000", "+0"],
        ["+0 x100000", "+0"],
    ],
    ids=["day ahead", "day behind", "year ahead first", "2038", "backwards", "racing"],
)
def test_a_clock_that_jumps_ages_nothing(tmp_path: Path, clocks: list[str]) -> None:
    lives = [life(tmp_path, clock) for clock in clocks]
    walls = [moment for one in lives for moment in one["wall"]]
    assert max(abs(here - there) for here, there in pairwise(walls)) > HOUR
    last = lives[-1]
    assert [one["early"] for one in lives] == [0] * len(lives)
    assert last["seqs"] == list(range(10 * len(lives)))
    assert len(set(last["ids"])) == len(last["ids"])  # no session number comes twice
    assert sorted(one["session"] for one in lives) == [one["session"] for one in lives]
    assert all(0 <= one["age"] < HOUR for one in lives)


def test_an_age_by_the_wall_clock_would(tmp_path: Path) -> None:
    life(tmp_path, "+0", "wall")
    assert life(tmp_path, f"+{DAY}s", "wall")["early"] == 10
