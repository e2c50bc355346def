"""``python -m tests.benchmarks.certificate.drift_run``: a drift through the real pipeline.

Writes ``docs/reports/certificate-drift-run.md``: a node, a cloud server and a broker as processes over the
demo's link; Fashion-MNIST, clean and then in low resolution. Needs the artifact that ``pays`` certifies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deploy.demo.collect import Collector
from deploy.demo.fleet import Node
from deploy.demo.scenario import Scenario, Stream
from edge_node.gate import certificate
from protos import artifact
from protos.result import Result
from tests.benchmarks.certificate import fashion
from tests.benchmarks.certificate.banks import fashion_pair
from tests.benchmarks.certificate.degrade import DEGRADATIONS
from tests.benchmarks.certificate.options import REPORTS, options
from tests.benchmarks.certificate.running import AUDITS, LINK, STANDING, files_in, run

RATE = 40.0
SETTINGS: dict[str, str | float | bool] = {"offload_share": 0.30, "mode": "budget-cap"}
CLEAN, DRIFTED = 4000, 6000
DRIFT = "low resolution"
SAMPLES, FALLEN = "tidegate_samples_total", STANDING + '{ground="drift"}'
PUBLISHED = "tidegate_audit_detection_audits"
REPORT = REPORTS / "certificate-drift-run.md"
TEXT = """\
# A drift through the real pipeline

Made by `{command}`, after `pays` with the same cache.
A node, a cloud server and a broker as processes over `{link}`: {clean:,} clean images of Fashion-MNIST, then
{drifted:,} in {drift}, {rate:g} a second. The artifact was certified on other images
(ε = {epsilon:g} points). `[budget]` has {budget}; 2 % are audited, all else is default.

| | clean | drifted |
| --- | --: | --: |
| accuracy of the edge alone, % | {edge} |
| accuracy of what was published, % | {hybrid} |
| offloaded, % | {offload} |
| most offloaded in 1,000 inputs, % | {most} |

- The certificate was withdrawn {withdrawn}.
- Published before the drift: about {published:,.0f} audits to notice that disagreement has doubled.
- {counted}

Without labels nothing tells that the cloud is worse than the edge here: what that costs is bounded by the
budget. With labels the offloads stop: [certificate-drift.md](certificate-drift.md).
"""


def main() -> None:
    """Run it, write the report."""
    chosen = options(__doc__)
    folder = chosen.cache / "pays" / "Fashion-MNIST"
    edge = folder / "edge"
    promise = certificate.load(artifact.load(edge))
    if promise is None:
        raise SystemExit(f"{edge} has no certificate: run pays first")
    scenario = _scenario(edge, fashion_pair(chosen.cache).cloud, folder / "drift")
    pages: list[dict[str, float]] = []
    results = run(scenario, folder / "drift-run", ["hybrid"], pages.append, _results)
    REPORT.write_text(
        TEXT.format(
            command=chosen.command,
            link=LINK,
            clean=CLEAN,
            drifted=DRIFTED,
            drift=DRIFT,
            rate=RATE,
            epsilon=100 * promise.epsilon,
            budget=", ".join(f"`{name} = {value}`" for name, value in SETTINGS.items()),
            withdrawn=_withdrawn(pages),
            published=[it for it in pages if 0 < it.get(SAMPLES, 0) <= CLEAN][-1][PUBLISHED],
            **_columns(results, scenario.streams[0].truth or {}),
        )
    )
    print(REPORT.read_text())


def _scenario(edge: Path, cloud: Path, folder: Path) -> Scenario:
    """The last images of the pool, which certified nothing."""
    pool = fashion.load().pool.take(slice(-CLEAN - DRIFTED, None))
    encoded = [fashion.png(one) for one in pool.pixels]
    seen = [*encoded[:CLEAN], *map(DEGRADATIONS[DRIFT], encoded[CLEAN:])]
    names = [f"{at:05}.png" for at in range(len(seen))]
    files_in(folder, list(zip(names, seen, strict=True)))
    truth = {name: int(label) for name, label in zip(names, pool.labels, strict=True)}
    stream = Stream("camera", {"kind": "directory", "path": str(folder.absolute())}, len(names), truth)
    return Scenario("drift", "Drift", edge, cloud, (stream,), RATE, settings={"budget": SETTINGS})


def _results(nodes: Sequence[Node], collector: Collector) -> list[Result]:
    """In the order of the samples."""
    return sorted(collector.results(nodes[0].id), key=lambda result: result.sample)


def _withdrawn(pages: Sequence[dict[str, float]]) -> str:
    before = [it for it in pages if it.get(SAMPLES, 0) <= CLEAN]
    for page in pages:
        if page.get(FALLEN):
            late, audits = page[SAMPLES] - CLEAN, before[-1].get(AUDITS, 0.0)
            return f"within {late:,.0f} inputs of the drift, after {audits:.0f} audits before it"
    return "never"


def _columns(results: Sequence[Result], truth: Mapping[str, int]) -> dict[str, str]:
    """Cells of both parts, by row."""
    labels = fashion.LABELS
    edge = np.array(
        [it.edge is not None and labels.index(it.edge.label) == truth[it.sample] for it in results]
    )
    hybrid = np.array([it.class_index == truth[it.sample] for it in results])
    sent = np.array([it.latency_ms.cloud is not None for it in results])
    sums = np.concatenate([[0], np.cumsum(sent)])
    windows = (sums[1000:] - sums[:-1000]) / 1000
    rows = {"edge": edge, "hybrid": hybrid, "offload": sent}
    cells = {name: _both(it[:CLEAN].mean(), it[CLEAN:].mean()) for name, it in rows.items()}
    cells["most"] = _both(windows[: CLEAN - 999].max(), windows[CLEAN - 999 :].max())
    cells["counted"] = f"{len(results):,} results of {len(truth):,} samples."
    return cells


def _both(clean: float, drifted: float) -> str:
    return f"{100 * clean:.1f} | {100 * drifted:.1f}"


if __name__ == "__main__":
    main()
