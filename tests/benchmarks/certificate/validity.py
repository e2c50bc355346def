"""``python -m tests.benchmarks.certificate.validity``: whether the certificate keeps its promise.

Writes ``docs/reports/certificate-validity.md`` from 200 random splits of real, labelled data.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deploy.demo.figures import wilson
from tests.benchmarks.certificate.bank import Bank
from tests.benchmarks.certificate.banks import fashion_bank, photos_bank
from tests.benchmarks.certificate.methods import DELTA, METHODS
from tests.benchmarks.certificate.options import REPORTS, Options, options
from tests.benchmarks.certificate.splits import Outcome, divided, drawn, tried

REPEATS = 200
REPORT = REPORTS / "certificate-validity.md"
TITLES = {
    "certificate": "certificate",
    "reference": "plain reference",
    "naive": "naive",
}
INTRODUCTION = """\
# The certificate keeps its promise: 200 random splits of real data

Made by `{command}`.
TUNE, CERT and TEST are disjoint and drawn anew for each of {repeats} splits; δ = {delta:.0%}.

- **certificate**: `edge-node prepare certify` on arrays: score chosen on TUNE, betting test on CERT.
- **plain reference**: msp, the same test, thirty lines (`tests/benchmarks/certificate/reference.py`).
- **naive**: the loosest threshold whose drop on CERT is at most ε, as thresholds are usually tuned.
  It must fail here, or the test had no power.

A violation is a drop above ε. It is counted three ways, each with Wilson's 95 % interval:
**on TEST** is what a user would see; a drop measured on so few samples scatters around the true one, as given
below each table. **In truth** is the drop over CERT and TEST together, the finite world that CERT was drawn
from without replacement. **Redrawn** is over {repeats} more splits whose CERT is drawn *with* replacement,
so that its world is known exactly and samples are independent: the promise in its own words.
Allowed: δ + 3 SE = {allowed:.1%}.

The oracle is the smallest offload that keeps ε in truth, with the same score.

![Offload and true drop of every split](certificate-validity.svg)
"""


class Table(NamedTuple):
    """One data set at one epsilon."""

    name: str
    epsilon: float
    sizes: tuple[int, int, int]
    divided: dict[str, list[Outcome]]
    redrawn: dict[str, list[Outcome]]


def main() -> None:
    """Try all methods, write report and picture."""
    chosen = options(__doc__)
    tables = [*_tables("Fashion-MNIST", fashion_bank(chosen.cache), (2000, 5000), (0.005, 0.01, 0.02))]
    if chosen.photos:
        bank = photos_bank(chosen.cache, chosen.photos)
        tables += _tables("Photos", bank, (150, 600), (0.01, 0.015, 0.02))
    REPORT.write_text("\n".join([_introduction(chosen), *map(_section, tables)]))
    _plot(tables, REPORT.with_suffix(".svg"))
    print(REPORT.read_text())


def _tables(name: str, bank: Bank, sizes: tuple[int, int], epsilons: Sequence[float]) -> list[Table]:
    count = len(bank)
    once = tried(bank, divided(count, *sizes, REPEATS), METHODS, epsilons)
    again = tried(bank, drawn(count, *sizes, REPEATS), METHODS, epsilons)
    return [Table(name, it, (*sizes, count - sum(sizes)), once[it], again[it]) for it in epsilons]


def _introduction(chosen: Options) -> str:
    allowed = DELTA + 3 * (DELTA * (1 - DELTA) / REPEATS) ** 0.5
    return INTRODUCTION.format(command=chosen.command, repeats=REPEATS, delta=DELTA, allowed=allowed)


def _section(table: Table) -> str:
    tune, cert, test = table.sizes
    lines = [
        f"## {table.name}, ε = {100 * table.epsilon:g} points",
        "",
        f"{tune:,} TUNE, {cert:,} CERT, {test:,} TEST.",
        "",
        "| method | certified | offload | oracle | mean drop | violations on TEST | in truth | redrawn |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
        *(_row(table, name) for name in METHODS),
        "",
        f"Offload, oracle and drop are means over the splits, in % and points{_chosen_scores(table)}.",
        f"Standard deviation of the drop on one TEST around the true one: {100 * _noise(table):.2f} points.",
        "",
    ]
    return "\n".join(lines)


def _row(table: Table, name: str) -> str:
    own = table.divided[name]
    cells = [
        TITLES[name],
        f"{sum(it.certified for it in own)} of {len(own)}",
        f"{100 * np.mean([it.offload for it in own]):.1f}",
        f"{100 * np.mean([it.oracle for it in own]):.1f}",
        f"{100 * np.mean([it.drop for it in own]):.2f}",
        _frequency([it.drop > table.epsilon for it in own]),
        _frequency([it.true_drop > table.epsilon for it in own]),
        _frequency([it.true_drop > table.epsilon for it in table.redrawn[name]]),
    ]
    return f"| {' | '.join(cells)} |"


def _frequency(violated: Sequence[bool]) -> str:
    low, high = wilson(sum(violated), len(violated))
    return f"{100 * np.mean(violated):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _noise(table: Table) -> float:
    """Deviation over the splits of the drop on TEST from the true one."""
    own = table.divided["reference"]
    return float(np.std([it.drop - it.true_drop for it in own]))


def _chosen_scores(table: Table) -> str:
    names = [it.score for it in table.divided["certificate"]]
    counted = sorted(((names.count(name), name) for name in set(names)), reverse=True)
    return "; scores chosen on TUNE: " + ", ".join(f"{name} {count}" for count, name in counted)


def _plot(tables: Sequence[Table], path: Path) -> None:
    """Offload and true drop of every split, the certificate beside the naive rule."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "tidegate"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, -(-len(tables) // 2), figsize=(11, 6.5), layout="constrained", squeeze=False
    )
    for table, ax in zip(tables, axes.flat, strict=False):
        for name, colour in (("naive", "#d55e00"), ("certificate", "#009e73")):
            own = table.redrawn[name]
            ax.scatter(
                [100 * it.true_offload for it in own],
                [100 * it.true_drop for it in own],
                s=7,
                alpha=0.5,
                rasterized=True,
                color=colour,
                label=name,
            )
        ax.axhline(100 * table.epsilon, color="black", linewidth=1, label="promise ε")
        ax.axvline(
            100 * float(np.mean([it.oracle for it in table.redrawn["certificate"]])),
            color="#0072b2",
            linewidth=1,
            linestyle=":",
            label="oracle",
        )
        ax.set_title(f"{table.name}, ε = {100 * table.epsilon:g} points", fontsize=10)
        ax.set_xlabel("offload, %")
        ax.set_ylabel("true drop, points")
        ax.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
