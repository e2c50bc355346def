"""A failing cloud, as its node's users feel it; ``python -m tests.benchmarks.cloud_faults`` reports.

Two nodes answer by turns in one process: one that has no cloud, and one whose cloud fails.
"""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from edge_node.node import EdgeNode
from edge_node.sample import Sample
from protos.artifact import Artifact, load
from protos.result import Reason, Result
from tests.benchmarks.table import machine
from tests.chaos.cloud_stand import DEADLINE, FAULTS, SURE, UNSURE, Stand, recovery, stand
from tests.integration.fleet import artifacts
from tests.nodes import opened, settings

REPORT = Path(__file__).parents[2] / "docs/reports/cloud-faults.md"
OUTAGES, OUTAGE, PEACE = 3, 15.0, 5.0
"""Faults of each kind, and seconds of each and before it."""
EVERY = 0.01
"""Seconds between samples: one that the edge is sure of for each node, one that it is not."""

BLOCK = 500
"""Samples of which a ratio of quantiles is taken, before the median of them: a machine that is busy for a
while is so for both nodes, but not to the microsecond."""

WORDS = f"""# A failing cloud, as measured

`python -m tests.benchmarks.cloud_faults` wrote this: {OUTAGES} outages of {OUTAGE:.0f} s of each kind, \
each after
{PEACE:.0f} s of peace. A node with a deadline of {DEADLINE * 1e3:.0f} ms has samples \
every {EVERY * 1e3:.0f} ms:
one that its edge is sure of, and one that it is not. A second node, without a cloud, answers in turns with
it, in the same process. `none` is the control: no fault. What differs there is the machine's other work:
see the load at the end.

- **unanswered**: samples without a result.
- **late**: how long after its deadline the sample in a thousand that was answered last had its result, in
  ms, while the fault lasted; negative: before the deadline. **woken late**: the same quantile of how late
  this machine woke up the thread that fed the samples: nobody on it is more punctual.
- **not asked**: unsure samples of which the cloud was not asked, the circuit being open.
- **sure, p50 and p99**: time from capture to the answer of samples that the edge is sure of, while the fault
  lasted, as a ratio to the node without a cloud: the median of the ratios of {BLOCK} samples each, and in
  brackets their middle half.
- **seen**: seconds from the end of the fault to the first answer of the cloud, the longest of the {OUTAGES}.

"""


@dataclass
class Outage:
    """What was measured while a cloud was failing."""

    fed: int = 0
    unsure: list[Result] = field(default_factory=list)
    sure: list[Result] = field(default_factory=list)
    alone: list[Result] = field(default_factory=list)
    """Of the node without a cloud."""
    overslept: list[float] = field(default_factory=list)
    seen: float = 0.0


def main() -> None:
    """Measure, and write the report."""
    with TemporaryDirectory() as folder:
        rows = [_row(fault, _measure(Path(folder), fault)) for fault in ("none", *FAULTS)]
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    about = ", ".join(f"{name} {said}" for name, said in machine().items())
    load = " ".join(f"{it:.1f}" for it in os.getloadavg())
    REPORT.write_text(f"{WORDS}{table}\n\n{about}; load average {load}\n")
    print(REPORT.read_text())


def _measure(folder: Path, fault: str) -> Outage:
    measured = Outage()
    edge = load(artifacts(folder) / "edge")
    with stand(folder, fault) as cloud, _nodes(folder, edge, cloud) as (alone, node):
        for _ in range(OUTAGES):
            _feed(alone, node, PEACE, Outage())
            cloud.strike()
            _feed(alone, node, OUTAGE, measured)
            cloud.heal()
            measured.seen = max(measured.seen, recovery(node, longest=60))
    return measured


@contextmanager
def _nodes(folder: Path, edge: Artifact, cloud: Stand) -> Iterator[tuple[EdgeNode, EdgeNode]]:
    to = {"target": cloud.target, "deadline": DEADLINE}
    with opened(settings(folder, edge)) as alone, opened(settings(folder, edge, cloud=to)) as node:
        yield alone, node


def _feed(alone: EdgeNode, node: EdgeNode, seconds: float, outage: Outage) -> None:
    """Samples by turns; the order changes each time, so that neither node is always the first."""
    due = time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        outage.overslept.append(time.monotonic() - due)
        turns = [(alone, outage.alone), (node, outage.sure)]
        for each, results in turns if outage.fed % 2 else reversed(turns):
            each._pipeline.process(Sample("", SURE), results.append)
        node._pipeline.process(Sample("", UNSURE), outage.unsure.append)
        outage.fed, due = outage.fed + 1, due + EVERY
    time.sleep(2 * DEADLINE)


def _row(fault: str, outage: Outage) -> dict[str, str]:
    late = [result.latency_ms.total - DEADLINE * 1e3 for result in outage.unsure]
    closed = sum(result.reason is not Reason.CIRCUIT_OPEN for result in outage.unsure)
    return {
        "fault": fault,
        "samples": f"{outage.fed:,}",
        "unanswered": f"{outage.fed - len(outage.unsure)}",
        "late, ms": f"{_quantile(late, 0.999):+.1f}",
        "woken late, ms": f"{1e3 * _quantile(outage.overslept, 0.999):.1f}",
        "not asked": f"{1 - closed / outage.fed:.1%}",
        "sure, p50": _ratios(outage, 0.5),
        "sure, p99": _ratios(outage, 0.99),
        "seen, s": f"{outage.seen:.1f}",
    }


def _ratios(outage: Outage, share: float) -> str:
    """Of a quantile of both nodes, over blocks of samples that were answered by turns."""
    sure, alone = ([it.latency_ms.total for it in each] for each in (outage.sure, outage.alone))
    ratios = [
        _quantile(sure[at : at + BLOCK], share) / _quantile(alone[at : at + BLOCK], share)
        for at in range(0, len(sure) - BLOCK + 1, BLOCK)
    ]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
