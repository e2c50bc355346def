"""``python -m tests.benchmarks.certificate.pays``: what the certified hybrid costs beside cloud-only.

Writes ``docs/reports/certificate-pays.md``: certifies with ``edge-node prepare certify``, then runs broker,
cloud server and nodes as processes over the demo's link ``lte``, on samples that nothing was tuned on.
"""

import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.demo.collect import Collector
from deploy.demo.comparison import Column, Comparison, compare
from deploy.demo.fleet import POLICIES, Node
from deploy.demo.link import PROFILES
from deploy.demo.photos import images
from deploy.demo.photos.build import Pair
from deploy.demo.report import describe, markdown_table
from deploy.demo.scenario import Scenario, Stream
from edge_node.gate import certificate
from protos import artifact
from protos.result import Result
from tests.benchmarks.certificate import fashion
from tests.benchmarks.certificate.banks import fashion_pair, photo_files, photos_pair
from tests.benchmarks.certificate.options import REPORTS, Options, options
from tests.benchmarks.certificate.running import AUDITS, LINK, STANDING, files_in, run
from tests.benchmarks.table import machine

REPORT = REPORTS / "certificate-pays.md"
DRAWS = 1000
SECONDS = "tidegate_cloud_only_latency_seconds"
INTRODUCTION = """\
# It pays: the certified hybrid beside cloud-only over `{link}`

Made by `{command}`.
Real processes on one machine: Mosquitto, a cloud server, and a node for each of three policies on the same
samples. Each node crosses a link of its own: {profile}.
Bytes are counted at its sockets: connection set-up, HTTP/2 and gRPC are in. The hybrid has the artifact that
`edge-node prepare certify` wrote, and default settings: it audits 2 % of its samples, and those bytes are in,
too. Both send the same PNG or JPEG files. Nothing was tuned on the samples that are shown.

Latency is from capture to result for the hybrid, and of the gRPC call alone for cloud-only. Ratios are
hybrid / cloud-only, brackets are 95 % intervals: bootstrap, for accuracy over distinct samples.
Machine: {machine}.

For photos, 600 CERT labels never carry an epsilon of 0.5 points and always one of 0.75, at 34 % offload
([certificate-photos.md](certificate-photos.md)); here it is 1.0, which costs less.
"""


@dataclass(frozen=True)
class Trial:
    """A pair of models, samples that certify, and samples that judge."""

    name: str
    pair: Pair
    cert: Path
    """Folder of images, with `labels.npy` beside it."""
    test: Path
    truth: dict[str, int]
    """Of the images in `test`."""
    distinct: int
    epsilon: float
    rate: float
    note: str


def main() -> None:
    """Certify, run, write the report."""
    chosen = options(__doc__)
    sections = [_section(trial, chosen.cache / "pays" / trial.name) for trial in _trials(chosen)]
    head = INTRODUCTION.format(
        link=LINK, command=chosen.command, profile=describe(PROFILES[LINK]), machine=_machine()
    )
    REPORT.write_text("\n".join([head, *sections]))
    print(REPORT.read_text())


def _trials(chosen: Options) -> Iterator[Trial]:
    folder = chosen.cache / "pays"
    yield _fashion(folder / "Fashion-MNIST", fashion_pair(chosen.cache))
    if chosen.photos:
        yield _photos(folder / "Photos", photos_pair(chosen.cache, chosen.photos), chosen.photos)


def _fashion(folder: Path, pair: Pair) -> Trial:
    pool = fashion.load().pool
    cert, test = pool.take(slice(6250)), pool.take(slice(6250, 14_250))
    files_in(folder / "cert", [(f"{at:05}.png", fashion.png(it)) for at, it in enumerate(cert.pixels)])
    files_in(folder / "test", [(f"{at:05}.png", fashion.png(it)) for at, it in enumerate(test.pixels)])
    _labels(folder, cert.labels)
    return Trial(
        name="Fashion-MNIST",
        pair=pair,
        cert=folder / "cert",
        test=folder / "test",
        truth={f"{at:05}.png": int(it) for at, it in enumerate(test.labels)},
        distinct=len(test.labels),
        epsilon=0.01,
        rate=25.0,
        note="7,362 parameters int8 → 261,298 fp32; 1,250 TUNE, 5,000 CERT, 8,000 TEST",
    )


def _photos(folder: Path, pair: Pair, source: Path) -> Trial:
    files = photo_files(source)
    truth = images.read_labels(source / "images.csv", files)
    order = np.random.default_rng(0).permutation(len(files))
    cert, test = ([files[at] for at in rows] for rows in (sorted(order[:750]), sorted(order[750:])))
    files_in(folder / "cert", [(it.name, it.read_bytes()) for it in cert])
    shown = [(f"{turn}-{it.name}", it) for turn in range(4) for it in test]
    files_in(folder / "test", [(name, it.read_bytes()) for name, it in shown])
    _labels(folder, [truth[it.name] for it in cert])
    return Trial(
        name="Photos",
        pair=pair,
        cert=folder / "cert",
        test=folder / "test",
        truth={name: truth[it.name] for name, it in shown},
        distinct=len(test),
        epsilon=0.01,
        rate=4.0,
        note="EfficientNet-Lite0 int8 → Lite2; 150 TUNE, 600 CERT, 250 TEST photos, shown four times each",
    )


def _labels(folder: Path, labels: Sequence[int] | NDArray[np.int64]) -> None:
    np.save(folder / "labels.npy", np.asarray(labels, np.int64))


def _certified(trial: Trial, folder: Path) -> Path:
    """The edge artifact with its certificate, by the command that users have; once."""
    out = folder / "edge"
    if not (out / artifact.MANIFEST).exists():
        program = Path(sysconfig.get_path("scripts")) / "edge-node"
        command = [program, "prepare", "certify", *trial.pair, trial.cert, "-o", out]
        asked = ["--labels", str(folder / "labels.npy"), "--epsilon", str(trial.epsilon)]
        subprocess.run([*map(str, command), *asked], check=True)
    return out


def _section(trial: Trial, folder: Path) -> str:
    edge = _certified(trial, folder)
    scenario = Scenario(
        name=trial.name,
        title=trial.name,
        edge=edge,
        cloud=trial.pair.cloud,
        streams=(
            Stream(
                "camera",
                {"kind": "directory", "path": str(trial.test.absolute())},
                len(trial.truth),
                trial.truth,
            ),
        ),
        rate=trial.rate,
    )
    comparison, page = _compared(scenario, folder / "run")
    promise = certificate.load(artifact.load(edge))
    verdict = promise.verdict if promise else "no certificate"
    return "\n".join(
        [
            f"## {trial.name}",
            "",
            f"{trial.note}; {trial.rate:g} samples a second. Certificate: {verdict}",
            "",
            _goals(comparison, trial),
            "",
            _audited(comparison, page),
            "",
            "All that was measured:",
            "",
            markdown_table(comparison),
            "",
        ]
    )


def _compared(scenario: Scenario, run_dir: Path) -> tuple[Comparison, dict[str, float]]:
    """All three policies at once on the same samples, and the last that the hybrid's metrics said."""
    page: dict[str, float] = {}

    def finish(nodes: Sequence[Node], collector: Collector) -> Comparison:
        found = compare(scenario, nodes, collector)
        if miscounts := found.miscounts():
            raise SystemExit("\n".join(miscounts))
        return found

    return run(scenario, run_dir, POLICIES, page.update, finish), page


def _goals(comparison: Comparison, trial: Trial) -> str:
    """Each promise beside what was measured."""
    by_site = {column.site: column for column in comparison.columns}
    hybrid, cloud = by_site["hybrid"], by_site["cloud-only"]
    own, theirs = _bytes(hybrid), _bytes(cloud)
    with_mqtt = own + _mqtt(hybrid)
    rows = [
        (
            "accuracy less cloud-only's, points",
            f">= -{100 * trial.epsilon:g}",
            _accuracy(hybrid, cloud, trial),
        ),
        ("inference bytes (gRPC)", "<= 40 %", f"{own / theirs:.1%}: {own:,.0f} of {theirs:,.0f} a sample"),
        (
            "with the MQTT results of both",
            "told",
            f"{with_mqtt / (theirs + _mqtt(cloud)):.1%}: {with_mqtt:,.0f} of {theirs + _mqtt(cloud):,.0f}",
        ),
        (
            "with those of the hybrid alone",
            "told",
            f"{with_mqtt / theirs:.1%}: {with_mqtt:,.0f} of {theirs:,.0f}",
        ),
        ("mean latency", "<= 50 %", _latency(hybrid, cloud, lambda it: float(it.mean()))),
        ("p50", "<= 25 %", _latency(hybrid, cloud, lambda it: float(np.median(it)))),
        ("p99", "<= 100 %", _latency(hybrid, cloud, lambda it: float(np.quantile(it, 0.99)))),
    ]
    head = ["| | promised | measured |", "| --- | --: | --: |"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def _audited(comparison: Comparison, page: Mapping[str, float]) -> str:
    """What the hybrid's audit said of a cloud alone, beside the cloud alone."""
    cloud = next(column for column in comparison.columns if column.site == "cloud-only")
    latency = float(cloud.figures.latency(cloud.latency_of).mean())
    (ground,) = (name.split('"')[1] for name, on in page.items() if name.startswith(STANDING) and on)
    return (
        f"At its last scrape the hybrid had made {page[AUDITS]:.0f} audits, its certificate was `{ground}`.\n"
        f"Without knowing cloud-only it estimated {1e3 * page[SECONDS]:.1f} ms a call for it, where that"
        f" measured {latency:.1f} ms."
    )


def _bytes(column: Column) -> float:
    return column.per_sample(column.grpc.sent + column.grpc.received)


def _mqtt(column: Column) -> float:
    return column.per_sample(column.mqtt.sent + column.mqtt.received)


def _accuracy(hybrid: Column, cloud: Column, trial: Trial) -> str:
    by_name = {result.sample: result for result in cloud.figures.results}
    won = np.array([_right(it, trial) - _right(by_name[it.sample], trial) for it in hybrid.figures.results])
    half = 1.96 * won.std() / trial.distinct**0.5
    return f"{100 * won.mean():+.2f} [{100 * (won.mean() - half):+.2f}, {100 * (won.mean() + half):+.2f}]"


def _right(result: Result, trial: Trial) -> float:
    return float(result.class_index == trial.truth[result.sample])


def _latency(hybrid: Column, cloud: Column, of: Callable[[NDArray[np.float64]], float]) -> str:
    own, theirs = (it.figures.latency(it.latency_of) for it in (hybrid, cloud))
    random = np.random.default_rng(0)
    ratios = [of(random.choice(own, len(own))) / of(random.choice(theirs, len(theirs))) for _ in range(DRAWS)]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return f"{of(own) / of(theirs):.1%} [{low:.1%}, {high:.1%}]: {of(own):.1f} of {of(theirs):.1f} ms"


def _machine() -> str:
    found = machine()
    return f"{found['cpu']}, {found['cores']} cores shared with other work, Python {found['python']}"


if __name__ == "__main__":
    main()
