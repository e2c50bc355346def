"""Builds ``dashboards/edge-vs-cloud.json``: ``python -m deploy.grafana.build``."""

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, VariableRefresh

from deploy.grafana import queries as q
from deploy.grafana.panels import SOURCE, Panel, buckets, curves, durations, figure, rows, stacked, states
from deploy.grafana.queries import Query

OUTPUT = Path(__file__).parent / "dashboards/edge-vs-cloud.json"
PER_SECOND = "suffix: /s"


def figures() -> Iterator[Panel]:
    answered = Query(f"{q.rate(q.FROM_CLOUD)} / {q.rate(q.RESULTS)}")
    saved = Query(f"1 - {q.growth(q.SENT)} / {q.growth(q.CLOUD_ONLY)}")
    yield figure(
        "Samples", "Taken from all sources.", PER_SECOND, Query(q.rate(q.of_nodes("tidegate_samples_total")))
    )
    yield figure("Answered by the cloud", "Share of results.", "percentunit", answered)
    yield figure("Bytes saved", "Against sending every sample, in the period shown.", "percentunit", saved)
    yield figure("Nodes without a broker", "", "none", Query(f"count({q.CONNECTED} == 0) or vector(0)"))
    yield figure("Results waiting", "For the broker to acknowledge them.", "none", Query(f"sum({q.QUEUED})"))
    yield figure("Results dropped", "In the period shown.", "none", Query(q.growth(q.DROPPED)))


def comparison() -> Iterator[Panel]:
    about = "From capture to result, by who answered. What the cloud answers has passed the edge first."
    for title, share in (("Median latency", 0.5), ("99th percentile of latency", 0.99)):
        yield durations(title, about, Query(q.quantile(share, q.LATENCY, "route"), "{{route}}"))
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
    yield curves(
        "Bytes sent to the cloud",
        "gRPC messages, without framing.",
        "binBps",
        Query(q.rate(q.SENT), "sent"),
        Query(q.rate(q.CLOUD_ONLY), "cloud-only would send"),
    )
    yield buckets(
        "Confidence of the edge model",
        "How sure the edge was. The gate's threshold cuts this picture in two.",
        Query(q.growth(q.CONFIDENCE, "le", q.WINDOW), "{{le}}"),
    )


def nodes() -> Iterator[Panel]:
    spent, runs = (q.rate(q.of_nodes(f"{q.STAGES}_{part}"), "stage") for part in ("sum", "count"))
    yield states(
        "Broker", "Whether a node has it.", "away", "connected", Query(q.CONNECTED, "{{site}}/{{node}}")
    )
    yield curves(
        "Results on their way",
        "Waiting for the broker, and lost since they could not wait.",
        "none",
        Query(f"sum by (site, node) ({q.QUEUED})", "waiting: {{site}}/{{node}}"),
        Query(q.growth(q.DROPPED, "reason", q.WINDOW), "dropped: {{reason}}"),
        Query(q.growth(q.DROPPED_SAMPLES, over=q.WINDOW), "samples dropped"),
    )
    yield durations("Where the time goes", "Mean of each stage.", Query(f"{spent} / {runs}", "{{stage}}"))
    in_flight = Query(f"sum by (site, node) ({q.IN_FLIGHT})", "{{site}}/{{node}}")
    yield curves("Calls in flight", "To the cloud, by node.", "none", in_flight)


def server() -> Iterator[Panel]:
    seconds = (0.5, "p50"), (0.99, "p99")
    yield stacked(
        "Requests",
        "By gRPC status.",
        "reqps",
        Query(q.rate(q.REQUESTS, "method,code"), "{{method}} {{code}}"),
    )
    yield durations(
        "Time of an inference in the server",
        "The whole call, and the run of the model inside it.",
        *(Query(q.quantile(share, q.REQUEST_SECONDS, "method"), f"call {name}") for share, name in seconds),
        *(
            Query(q.quantile(share, q.MODEL_SECONDS, "model"), f"{{{{model}}}} {name}")
            for share, name in seconds
        ),
    )
    yield curves("Requests in flight", "", "none", Query(f"sum({q.REQUESTS_IN_FLIGHT})", "in flight"))
    labels = "job, site, node, name, version, precision, sha256"
    yield rows("Models", "What runs where.", Query(f"sum by ({labels}) ({q.MODELS})"))


def variables() -> Iterator[DatasourceVariable | QueryVariable]:
    yield DatasourceVariable("source").label("Data source").type("prometheus")
    for name, series in (
        ("site", "tidegate_samples_total"),
        ("node", 'tidegate_samples_total{site=~"$site"}'),
    ):
        chosen = QueryVariable(name).query(f"label_values({series}, {name})").datasource(SOURCE)
        yield (
            chosen.multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )


def build() -> str:
    """The dashboard as JSON."""
    dashboard = Dashboard("Edge vs cloud").uid("tidegate-edge-vs-cloud").tags(["tidegate"])
    dashboard.time("now-1h", "now").refresh("10s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    for variable in variables():
        dashboard.with_variable(variable)
    sections = {"": figures(), "Edge and cloud": comparison(), "Nodes": nodes(), "Cloud server": server()}
    for title, panels in sections.items():
        if title:
            dashboard.with_row(Row(title))
        for panel in panels:
            dashboard.with_panel(panel)
    built = dashboard.build()
    for number, placed in enumerate(built.panels or [], 1):
        placed.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(build())
