"""Fleet: which device is sick."""

from collections.abc import Iterator

from deploy.grafana import queries as q
from deploy.grafana.board import Board
from deploy.grafana.panels import PER_SECOND, Panel, curves, durations, figure, nodes_table, rows, stacked
from deploy.grafana.queries import Query

FIRING = 'alertname=~"Tidegate.*",alertstate="firing"'
BY_NODE = "{{site}}/{{node}}"
EACH = "site, node"


def sections() -> dict[str, Iterator[Panel]]:
    """Panels by row."""
    return {"": figures(), "Nodes": nodes(), "Over time": history(), "What runs": software()}


def figures() -> Iterator[Panel]:
    up = q.once(q.NODE_UP)
    about = "By birth, last will and snapshots."
    yield figure("Nodes online", about, "none", Query(f"sum({up})"))
    yield figure("Nodes away", about, "none", Query(f"count({up} == 0) or vector(0)"))
    yield figure("Alerts", "Firing now.", "none", Query(f"count(ALERTS{{{FIRING}}}) or vector(0)"))
    yield figure("Results waiting", "For a confirmation.", "none", Query(q.total(q.QUEUED)))
    yield figure("Oldest of them", "", "s", Query(f"max({q.QUEUED_AGE})"))
    yield figure("Results dropped", "In the period shown.", "none", Query(q.growth(q.DROPPED)))


def nodes() -> Iterator[Panel]:
    """A line a node; a click opens it."""
    offload = f"{q.rate(q.FROM_CLOUD, EACH)} / {q.rate(q.RESULTS, EACH)}"
    alerts = f"count by ({EACH}) ({q.of_nodes('ALERTS', FIRING)}) or 0 * max by ({EACH}) ({q.NODE_UP})"
    valid = q.of_nodes("tidegate_certificate_standing", 'ground="valid"')
    yield nodes_table(
        "Nodes",
        "A node that is away has a line, and no figures. Circuit: 2 is open. Certified: 1 is yes.",
        {
            "Up": (Query(f"max by ({EACH}) ({q.NODE_UP})"), "none"),
            "Last seen": (Query(f"time() - max by ({EACH}) ({q.LAST_SEEN})"), "s"),
            "Alerts": (Query(alerts), "none"),
            "Samples": (Query(q.rate(q.SAMPLES, EACH)), PER_SECOND),
            "To the cloud": (Query(offload), "percentunit"),
            "p99": (Query(q.quantile(0.99, q.LATENCY, EACH)), "s"),
            "Waiting": (Query(q.total(q.QUEUED, EACH)), "none"),
            "Oldest": (Query(f"max by ({EACH}) ({q.QUEUED_AGE})"), "s"),
            "Dropped": (Query(q.growth(q.DROPPED, EACH)), "none"),
            "Circuit": (Query(f"max by ({EACH}) ({q.CIRCUIT})"), "none"),
            "Certified": (Query(f"max by ({EACH}) ({valid})"), "none"),
        },
    )


def history() -> Iterator[Panel]:
    """The ten worst each: a thousand curves show nothing."""
    yield stacked("Samples by site", "", PER_SECOND, Query(q.rate(q.SAMPLES, "site"), "{{site}}"))
    share = f"{q.rate(q.FROM_CLOUD, 'site')} / {q.rate(q.RESULTS, 'site')}"
    yield curves("Answered by the cloud, by site", "", "percentunit", Query(share, "{{site}}"))
    waiting = f"topk(10, {q.total(q.QUEUED, EACH)})"
    yield curves("Results on their way", "The ten most.", "none", Query(waiting, BY_NODE))
    oldest = f"topk(10, max by ({EACH}) ({q.QUEUED_AGE}))"
    yield curves("Age of the oldest result", "The ten oldest.", "s", Query(oldest, BY_NODE))
    slowest = f"topk(10, {q.quantile(0.99, q.LATENCY, EACH)})"
    yield durations("99th percentile of latency", "The ten slowest nodes.", Query(slowest, BY_NODE))
    lost = f"topk(10, {q.growth(q.DROPPED, 'site, node, reason', q.WINDOW)})"
    yield curves("Lost", "The ten that lost most.", "none", Query(lost, BY_NODE + " {{reason}}"))


def software() -> Iterator[Panel]:
    model = "name, version, precision, sha256"
    yield rows("Models", "How many nodes run which.", Query(f"count by ({model}) ({q.once(q.MODELS)})"))
    build = q.once(q.of_nodes("tidegate_build_info"))
    yield rows("Versions", "How many nodes run which.", Query(f"count by (version) ({build})"))


BOARD = Board("Fleet", ("site", "node"), sections)
