"""Edge-only, hybrid and cloud-only side by side: the columns of the table and what must add up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from deploy.demo.collect import Collector
from deploy.demo.figures import Figures, Judge, Point, curve
from deploy.demo.fleet import POLICIES, Node
from deploy.demo.link import Counts
from deploy.demo.scenario import Scenario
from protos.result import Reason, Result

Sampled = tuple[str, str]
"""Node and sample: the same in all three columns."""


@dataclass(frozen=True)
class Column:
    """One way to answer: the results of all its nodes, and what crossed the link for them."""

    site: str
    figures: Figures
    grpc: Counts
    mqtt: Counts

    @property
    def latency_of(self) -> Callable[[Result], float | None]:
        """Milliseconds from capture to result; for cloud-only of the call alone: its edge answers in vain."""
        if self.site == "cloud-only":
            return lambda result: result.latency_ms.cloud
        return lambda result: result.latency_ms.total

    def per_sample(self, count: int) -> float:
        """`count` over the samples."""
        return count / max(1, self.figures.samples)


@dataclass(frozen=True)
class Comparison:
    """The three columns of one run."""

    scenario: Scenario
    columns: Sequence[Column]

    @cached_property
    def curve(self) -> list[Point]:
        """What each threshold would have given, from the answers that edge-only and cloud-only gave."""
        edge, cloud = (self._by_sample(site) for site in ("edge-only", "cloud-only"))
        pairs = []
        for sampled in edge.keys() & cloud.keys():
            (edge_result, edge_right), (_, cloud_right) = edge[sampled], cloud[sampled]
            if edge_result.edge and edge_right is not None and cloud_right is not None:
                pairs.append((edge_result.edge.confidence, edge_right, cloud_right))
        return curve(pairs)

    def _by_sample(self, site: str) -> Mapping[Sampled, tuple[Result, bool | None]]:
        figures = next(column.figures for column in self.columns if column.site == site)
        return {_sampled(result): (result, figures.judge(result)) for result in figures.results}

    @property
    def drop(self) -> float:
        """Accuracy that the hybrid lost to cloud-only in this run; negative: it won."""
        verdicts = {column.site: column.figures.verdicts for column in self.columns}
        lost = sum(verdicts["cloud-only"]) - sum(verdicts["hybrid"])
        return lost / max(1, len(verdicts["hybrid"]))

    def miscounts(self) -> list[str]:
        """A line for each column in which a sample has no result, or more than one."""
        lines = []
        for column in self.columns:
            distinct = len({_sampled(result) for result in column.figures.results})
            if not self.scenario.samples == distinct == column.figures.samples:
                lines.append(
                    f"{column.site}: {self.scenario.samples} samples, {column.figures.samples} results"
                    f" of {distinct} samples"
                )
        return lines


def compare(scenario: Scenario, nodes: Iterable[Node], collector: Collector) -> Comparison:
    """The comparison of nodes that have ended."""
    nodes = list(nodes)
    judge = judged(scenario, collector)
    return Comparison(scenario, [_column(site, nodes, collector, judge) for site in POLICIES])


def _column(site: str, nodes: Sequence[Node], collector: Collector, judge: Judge) -> Column:
    mine = [node for node in nodes if node.id.site == site]
    results = [result for node in mine for result in collector.results(node.id)]
    return Column(
        site=site,
        figures=Figures(results, judge),
        grpc=_sum(node.grpc.counts() for node in mine if node.grpc),
        mqtt=_sum(node.mqtt.counts() for node in mine),
    )


def judged(scenario: Scenario, collector: Collector) -> Judge:
    """Whether a result is right: by the labels, or without them by what the cloud says of the sample."""
    truth: Mapping[Sampled, int] = {
        (stream.name, sample): label
        for stream in scenario.streams
        for sample, label in (stream.truth or {}).items()
    }
    if not scenario.labelled:
        truth = {
            _sampled(result): result.class_index
            for node, results in collector.everything().items()
            if node.site == "cloud-only"
            for result in results
            if result.reason is Reason.CLOUD and result.class_index is not None
        }

    def judge(result: Result) -> bool | None:
        label = truth.get(_sampled(result))
        return None if label is None else result.class_index == label

    return judge


def _sampled(result: Result) -> Sampled:
    return result.node, result.sample


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts(0, 0, 0)
    for count in counts:
        total = Counts(
            total.sent + count.sent, total.received + count.received, total.connections + count.connections
        )
    return total
