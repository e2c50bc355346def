"""``make bench-cloud``: tables on the screen, the figures in ``.demo``, and the report of all cases."""

import argparse
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tests.benchmarks import table
from tests.benchmarks.cloud import idle, report, rounds
from tests.benchmarks.cloud.contenders import CASES, ECHO, OURS
from tests.benchmarks.cloud.promises import Kept
from tests.benchmarks.cloud.rounds import Pace

FOUND = Path(__file__).parents[3] / ".demo/bench-cloud"
FULL, QUICK = Pace(9, 1.0), Pace(1, 0.2)
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended, and so are all servers"))
    for case in given.cases or (*CASES, "idle"):
        kept = _measure(case, quick=given.quick)
        table.show(kept.title, kept.rows, WIDTH)
        if not given.quick:
            _keep(case, kept)
    if not given.quick:
        report.write(FOUND)


def _measure(case: str, *, quick: bool) -> Kept:
    only = FEW if quick else frozenset[str]()
    with TemporaryDirectory() as folder:
        if case == "idle":
            found = idle.measure(Path(folder), 1 if quick else idle.STARTS, only)
            rows = [dict(it) for it in found]
            return Kept(title=idle.TITLE, rows=rows, machine=report.machine(), rates={}, p50={})
        measured = rounds.measure(CASES[case], Path(folder), QUICK if quick else FULL, only)
    return Kept(
        title=CASES[case].title,
        rows=[dict(it) for it in rounds.rows(measured)],
        machine=report.machine(),
        rates={name: [it[name].done.rate for it in measured] for name in measured[0]},
        p50={name: [it[name].done.p50 for it in measured] for name in measured[0]},
    )


def _keep(case: str, kept: Kept) -> None:
    FOUND.mkdir(parents=True, exist_ok=True)
    (FOUND / f"{case}.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))


if __name__ == "__main__":
    main()
