"""Edge vs cloud: what the edge is worth."""

from collections.abc import Iterator

from deploy.grafana import queries as q
from deploy.grafana.board import Board
from deploy.grafana.panels import PER_SECOND, Panel, buckets, curves, durations, figure, stacked
from deploy.grafana.queries import Query

AGREEMENT = f"1 - ({q.once(q.STREAM_DISAGREEMENT)} >= 0)"


def sections() -> dict[str, Iterator[Panel]]:
    """Panels by row."""
    return {"": figures(), "Latency": latency(), "Decisions": decisions(), "Cost": cost()}


def figures() -> Iterator[Panel]:
    answered = Query(f"{q.rate(q.FROM_CLOUD)} / {q.rate(q.RESULTS)}")
    saved = Query(f"1 - {q.growth(q.TO_CLOUD)} / {q.growth(q.CLOUD_ONLY)}")
    yield figure("Samples", "Taken from all sources.", PER_SECOND, Query(q.rate(q.SAMPLES)))
    yield figure("Answered by the cloud", "Share of results.", "percentunit", answered)
    yield figure("Bytes saved", "Against sending every sample, in the period shown.", "percentunit", saved)
    yield figure("p99", "From capture to result, whoever answered.", "s", Query(q.quantile(0.99, q.LATENCY)))
    yield figure(
        "Agreement with the cloud",
        "Share of all samples whose result is what the cloud would say, by audit; mean of nodes.",
        "percentunit",
        Query(f"avg({AGREEMENT})"),
    )
    yield figure("Results dropped", "In the period shown.", "none", Query(q.growth(q.DROPPED)))


def latency() -> Iterator[Panel]:
    about = (
        "From capture to result. hybrid: whoever answered. edge only: the edge's answer to every sample."
        " cloud only: estimated from audits and deferrals, mean of nodes."
    )
    for title, share, at in (("Median latency", 0.5, "p50"), ("99th percentile of latency", 0.99, "p99")):
        alone = q.of_nodes("tidegate_cloud_only_latency_quantile_seconds", f'at="{at}"')
        yield durations(
            title,
            about,
            Query(q.quantile(share, q.LATENCY, "route"), "{{route}}"),
            Query(q.quantile(share, q.LATENCY), "hybrid"),
            Query(q.quantile(share, q.EDGE_ONLY_LATENCY), "edge only"),
            Query(q.mean_known(alone), "cloud only"),
        )
    spent, runs = (q.rate(q.of_nodes(f"{q.STAGES}_{part}"), "stage") for part in ("sum", "count"))
    yield durations(
        "Where the time goes",
        "Mean of each stage; cloud is a whole call, made of network, cloud_queue and cloud_compute.",
        Query(f"{spent} / {runs}", "{{stage}}"),
    )
    yield buckets(
        "Latency of all results",
        "How many took how long.",
        Query(q.growth(q.LATENCY, "le", q.WINDOW), "{{le}}"),
    )


def decisions() -> Iterator[Panel]:
    yield curves(
        "Share that needs the cloud",
        "Deferred: the edge was not sure enough. Some of those the cloud cannot answer in time.",
        "percentunit",
        Query(f"{q.rate(q.DEFERRED)} / {q.rate(q.RESULTS)}", "deferred"),
        Query(f"{q.rate(q.FROM_CLOUD)} / {q.rate(q.RESULTS)}", "cloud"),
    )
    yield stacked(
        "Results by reason",
        "All reasons together are all samples.",
        PER_SECOND,
        Query(q.rate(q.RESULTS, "reason"), "{{reason}}"),
    )
    yield buckets(
        "Confidence of the edge model",
        "How sure the edge was. The gate's threshold cuts this picture in two.",
        Query(q.growth(q.CONFIDENCE, "le", q.WINDOW), "{{le}}"),
    )
    yield curves(
        "Agreement with the cloud, by node",
        "Share of all samples whose result is what the cloud would say, by audit.",
        "percentunit",
        Query(AGREEMENT, "{{site}}/{{node}}"),
    )


def cost() -> Iterator[Panel]:
    yield curves(
        "Bytes between edge and cloud",
        "At gRPC's sockets, both directions, with framing and TLS. cloud only: with every sample sent.",
        "binBps",
        Query(q.rate(q.TO_CLOUD), "hybrid"),
        Query(q.rate(q.CLOUD_ONLY), "cloud only"),
    )
    yield curves(
        "Energy per result",
        "measured: by a sensor of the device. estimated: by constants of the device. Never mixed.",
        "joule",
        Query(f"{q.rate(q.ENERGY, 'source')} / on () group_left () {q.rate(q.RESULTS)}", "{{source}}"),
    )


BOARD = Board("Edge vs cloud", ("site", "node"), sections)
