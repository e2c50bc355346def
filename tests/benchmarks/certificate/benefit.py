"""``python -m tests.benchmarks.certificate.benefit``: what shows that asking the cloud gains nothing.

Writes ``docs/reports/certificate-benefit.md``: the gain on clean and degraded images, what the models'
own confidence says of it, and how many labels prove it.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from edge_node.gate.benefit import LEAST, STOP, Benefit
from edge_node.prepare.certify import temperature
from tests.benchmarks.certificate.bank import Bank
from tests.benchmarks.certificate.banks import CLEAN, CONDITIONS, fashion_bank, photos_bank
from tests.benchmarks.certificate.options import REPORTS, Options, options

DEFERRED = 0.3
"""Of the clean inputs: those of least confidence."""
LABELS, RUNS = 4000, 40
REPORT = REPORTS / "certificate-benefit.md"
INTRODUCTION = """\
# When asking the cloud gains nothing, and what shows it

Made by `{command}`.
Deferred: confidence below what defers {deferred:.0%} of the clean inputs. Gain: how many more of the deferred
the cloud has right, in points, with its standard error. Differ: share of the deferred on which the two say
different things: no gain can be larger, and without labels that is all that can be proved. Believed: the gain
if both models' confidence, calibrated on clean inputs, were true. Labels: median of {runs} runs of how many
labelled offloads it takes until `Benefit` stops offloading, at the latest after {labels:,}; the gain that it
asks for is {least:g} points, and a wrong stop has probability {stop:g} at most.

Belief does not follow the gain: it says as much of images on which the cloud is no better, or worse.
"""
HEADER = """\
| inputs | deferred, % | gain | differ, % | believed | stopped | labels |
| --- | --: | --: | --: | --: | --: | --: |
"""


@dataclass(frozen=True)
class Confidence:
    """Both models' confidence, calibrated on clean inputs."""

    edge: float
    cloud: float
    threshold: float

    @classmethod
    def on(cls, clean: Bank) -> "Confidence":
        edge, cloud = (temperature.fit(logits, clean.labels) for logits in (clean.edge, clean.cloud))
        return cls(edge, cloud, float(np.quantile(top(clean.edge, edge), DEFERRED)))


def top(logits: NDArray[np.float32], heat: float) -> NDArray[np.float64]:
    """Largest softmax probability of each row."""
    scaled = logits.astype(np.float64) / heat
    return np.asarray(1 / np.exp(scaled - scaled.max(1, keepdims=True)).sum(1))


def main() -> None:
    """Measure all conditions, write the report."""
    chosen = options(__doc__)
    text = INTRODUCTION.format(
        command=chosen.command, deferred=DEFERRED, runs=RUNS, labels=LABELS, least=100 * LEAST, stop=STOP
    )
    REPORT.write_text("\n".join([text, *_sections(chosen)]))
    print(REPORT.read_text())


def _sections(chosen: Options) -> list[str]:
    folder = chosen.photos
    banks = {"Fashion-MNIST": {each: fashion_bank(chosen.cache, each) for each in CONDITIONS}}
    if folder is not None:
        banks["Photos"] = {each: photos_bank(chosen.cache, folder, each) for each in CONDITIONS}
    return [f"## {name}\n\n{HEADER}{_rows(conditions)}" for name, conditions in banks.items()]


def _rows(conditions: dict[str, Bank]) -> str:
    known = Confidence.on(conditions[CLEAN])
    return "".join(_row(name, bank, known) for name, bank in conditions.items())


def _row(name: str, bank: Bank, known: Confidence) -> str:
    edge, cloud = top(bank.edge, known.edge), top(bank.cloud, known.cloud)
    deferred = edge < known.threshold
    gains = (bank.cloud_right.astype(int) - bank.edge_right)[deferred]
    differ = (bank.edge.argmax(1) != bank.cloud.argmax(1))[deferred]
    believed = (differ * (cloud - edge)[deferred]).mean()
    stops = np.array([stop(gains, differ, seed) for seed in range(RUNS)])
    typical = np.median(stops)
    cells = [
        name,
        f"{100 * deferred.mean():.0f}",
        f"{100 * gains.mean():+.1f} ± {100 * gains.std() / len(gains) ** 0.5:.1f}",
        f"{100 * differ.mean():.0f}",
        f"{100 * believed:+.1f}",
        f"{np.isfinite(stops).sum()} of {RUNS}",
        f"{typical:,.0f}" if np.isfinite(typical) else "-",
    ]
    return f"| {' | '.join(cells)} |\n"


def stop(gains: NDArray[np.int64], differ: NDArray[np.bool_], seed: int) -> float:
    """Labelled offloads, drawn again and again, until they stop; infinite if they do not."""
    benefit, drawn = Benefit(b"", [], [1.0]), np.random.default_rng(seed).integers(len(gains), size=LABELS)
    for seen, row in zip(count(1), drawn, strict=False):
        benefit.answered(0.0, differs=bool(differ[row]))
        benefit.labelled(0.0, int(gains[row]))
        if benefit.bins[0].stopped:
            return seen
    return np.inf


if __name__ == "__main__":
    main()
