"""``make bench-cloud``: tables on the screen, the figures in ``.demo``, and the report of all cases."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tests.benchmarks import table
from tests.benchmarks.cloud import idle, report, rounds
from tests.benchmarks.cloud.contenders import CASES, ECHO, OURS
from tests.benchmarks.cloud.rounds import Pace

FOUND = Path(__file__).parents[3] / ".demo/bench-cloud"
FULL, QUICK = Pace(5, 2.0), Pace(1, 0.2)
WIDTH = 150
FEW = frozenset({OURS, ECHO})
"""Who is in a quick run: those for whom nothing has to be installed."""


def main() -> None:
    """Measure, print, keep; without ``--quick`` also report what has been kept so far."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cloud", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"of {', '.join((*CASES, 'idle'))}; default: all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round of our server alone: does it work?"
    )
    given = parser.parse_args()
    for case in given.cases or (*CASES, "idle"):
        title, found = _measure(case, quick=given.quick)
        table.show(title, found, WIDTH)
        if not given.quick:
            _keep(case, title, found)
    if not given.quick:
        report.write(FOUND)


def _measure(case: str, *, quick: bool) -> tuple[str, list[table.Row]]:
    only = FEW if quick else frozenset[str]()
    with TemporaryDirectory() as folder:
        if case == "idle":
            return idle.TITLE, idle.measure(Path(folder), 1 if quick else idle.STARTS, only)
        measured = rounds.measure(CASES[case], Path(folder), QUICK if quick else FULL, only)
        return CASES[case].title, rounds.rows(measured)


def _keep(case: str, title: str, found: list[table.Row]) -> None:
    FOUND.mkdir(parents=True, exist_ok=True)
    kept = report.Kept(title=title, rows=[dict(it) for it in found], machine=report.machine())
    (FOUND / f"{case}.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))


if __name__ == "__main__":
    main()
