"""``python -m tests.benchmarks.certificate.photos``: the certificate on real photos, beside thirty lines.

Writes ``docs/reports/certificate-photos.md``: EfficientNet-Lite0 int8 -> Lite2 on 1,000 labelled photos.
"""

from collections.abc import Sequence

import numpy as np

from protos.score import Margin, Msp
from tests.benchmarks.certificate.bank import Bank
from tests.benchmarks.certificate.banks import photos_bank, unseen_photos
from tests.benchmarks.certificate.methods import METHODS, certificate
from tests.benchmarks.certificate.options import REPORTS, options
from tests.benchmarks.certificate.splits import Outcome, divided, tried

REPEATS = 200
PROMISED = {0.005: None, 0.0075: None, 0.01: 43, 0.015: 28, 0.02: 17}
"""Offload in % that a plain reference was measured at, on a pair of its own; None: not measured."""
WAYS = {
    "certificate": METHODS["certificate"],
    "certificate, msp": certificate(Msp()),
    "certificate, margin": certificate(Margin()),
    "reference": METHODS["reference"],
}
REPORT = REPORTS / "certificate-photos.md"
INTRODUCTION = """\
# The certificate on photos: EfficientNet-Lite0 int8 → Lite2

Made by `{command}`:
1,000 ImageNet-labelled photos, {repeats} random splits, δ = 5 %, betting test of the drop. On all of them
the edge model has {edge:.1f} % right and the cloud {cloud:.1f} %.

`certificate` chooses its score on TUNE; below it the same with the score given. `reference` is thirty lines
of numpy (msp at temperature 1, `tests/benchmarks/certificate/reference.py`) on the same splits. The column
`less reference` is the mean paired difference with its standard error over the splits; `target` is what
such a reference was measured at before, on a pair of its own: the promise is to be no worse.
"""


def main() -> None:
    """Try all ways, write the report."""
    chosen = options(__doc__)
    if chosen.photos is None:
        raise SystemExit("this report is about photos: give --photos")
    bank = photos_bank(chosen.cache, chosen.photos)
    unseen = bank.take(unseen_photos(chosen.photos))
    text = [
        INTRODUCTION.format(
            command=chosen.command,
            repeats=REPEATS,
            edge=100 * bank.edge_right.mean(),
            cloud=100 * bank.cloud_right.mean(),
        ),
        _section("## 150 TUNE, 600 CERT, 250 TEST of all 1,000", bank, (150, 600)),
        _section(
            "## The same of the 800 that no int8 range was chosen on: 150, 450, 200", unseen, (150, 450)
        ),
    ]
    REPORT.write_text("\n".join(text))
    print(REPORT.read_text())


def _section(title: str, bank: Bank, sizes: tuple[int, int]) -> str:
    outcomes = tried(bank, divided(len(bank), *sizes, REPEATS), WAYS, list(PROMISED))
    lines = [
        title,
        "",
        "| ε, points | way | certified | offload, % | less reference | drop on TEST, points | target |",
        "| --: | --- | --: | --: | --: | --: | --: |",
    ]
    for epsilon, by_way in outcomes.items():
        lines += [_row(epsilon, way, by_way) for way in by_way]
    chosen = [it.score for it in outcomes[0.01]["certificate"]]
    counted = ", ".join(f"{name} {chosen.count(name)}" for name in sorted(set(chosen)))
    return "\n".join([*lines, "", f"Scores chosen on TUNE: {counted}.", ""])


def _row(epsilon: float, way: str, by_way: dict[str, list[Outcome]]) -> str:
    own, others = by_way[way], by_way["reference"]
    return (
        f"| {100 * epsilon:g} | {way} | {sum(it.certified for it in own)} of {len(own)} "
        f"| {100 * np.mean([it.offload for it in own]):.1f} | {_paired(own, others)} "
        f"| {100 * np.mean([it.drop for it in own]):.2f} | {PROMISED[epsilon] or ''} |"
    )


def _paired(own: Sequence[Outcome], others: Sequence[Outcome]) -> str:
    if own is others:
        return ""
    less = [100 * (a.offload - b.offload) for a, b in zip(own, others, strict=True)]
    return f"{np.mean(less):+.1f} ± {np.std(less, ddof=1) / len(less) ** 0.5:.1f}"


if __name__ == "__main__":
    main()
