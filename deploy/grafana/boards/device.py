"""Device: all about one node."""

from collections.abc import Iterator

from deploy.grafana import queries as q
from deploy.grafana.board import Board
from deploy.grafana.panels import (
    PER_SECOND,
    Panel,
    buckets,
    curves,
    durations,
    figure,
    levels,
    magnitudes,
    rows,
    stacked,
    states,
)
from deploy.grafana.queries import Query


def sections() -> dict[str, Iterator[Panel]]:
    """Panels by row."""
    return {
        "": figures(),
        "Answers": answers(),
        "Results on their way": results(),
        "Promise": promise(),
        "Machine": machine(),
    }


def figures() -> Iterator[Panel]:
    skew = q.once(q.of_nodes("tidegate_clock_skew_seconds"))
    ends = q.once(f"-{q.of_nodes('tidegate_tls_certificate_expiry_timestamp_seconds')}")
    yield figure("Last seen", "Ago, by the fleet server.", "s", Query(f"time() - max({q.LAST_SEEN})"))
    yield figure("Samples", "", PER_SECOND, Query(q.rate(q.SAMPLES)))
    yield figure("Results waiting", "For a confirmation.", "none", Query(q.total(q.QUEUED)))
    yield figure("Results dropped", "In the period shown.", "none", Query(q.growth(q.DROPPED)))
    yield figure("Clock", "How far it is ahead of the cloud server's.", "s", Query(f"max({skew})"))
    yield figure(
        "Certificate ends in", "The first of its own, for TLS.", "s", Query(f"-max({ends}) - time()")
    )


def answers() -> Iterator[Panel]:
    about = "From capture to result, by who answered."
    for title, share in (("Median latency", 0.5), ("99th percentile of latency", 0.99)):
        yield durations(title, about, Query(q.quantile(share, q.LATENCY, "route"), "{{route}}"))
    yield stacked("Results by reason", "", PER_SECOND, Query(q.rate(q.RESULTS, "reason"), "{{reason}}"))
    spent, runs = (q.rate(q.of_nodes(f"{q.STAGES}_{part}"), "stage") for part in ("sum", "count"))
    yield durations("Where the time goes", "Mean of each stage.", Query(f"{spent} / {runs}", "{{stage}}"))
    yield buckets(
        "Confidence of the edge model",
        "The gate's threshold cuts this picture in two.",
        Query(q.growth(q.CONFIDENCE, "le", q.WINDOW), "{{le}}"),
    )
    circuit = {"0": ("closed", "green"), "1": ("half-open", "yellow"), "2": ("open", "red")}
    yield levels(
        "The way to the cloud", "Open: it is not asked.", circuit, Query(q.once(q.CIRCUIT), "circuit")
    )


def results() -> Iterator[Panel]:
    yield curves(
        "Results on their way",
        "Until they are confirmed.",
        "none",
        Query(q.total(q.QUEUED), "results"),
        Query(q.total(q.of_nodes("tidegate_held_inputs")), "inputs held for the cloud"),
        Query(q.total(q.IN_FLIGHT), "calls in flight"),
    )
    yield curves("Age of the oldest result", "In uptime.", "s", Query(f"max({q.QUEUED_AGE})", "age"))
    yield curves(
        "Lost",
        "Results by reason, and messages of sensors that never reached the model.",
        "none",
        Query(q.growth(q.DROPPED, "reason", q.WINDOW), "{{reason}}"),
        Query(q.growth(q.DROPPED_SAMPLES, over=q.WINDOW), "samples"),
    )
    broker = q.once(q.of_nodes("tidegate_mqtt_connected"))
    yield states("Broker", "Whether the node has it.", "away", "connected", Query(broker, "broker"))


def promise() -> Iterator[Panel]:
    yield states(
        "Promise",
        "valid: it stands. Otherwise the reason why not.",
        "no",
        "yes",
        Query(q.once(q.STANDING), "{{ground}}"),
    )
    yield curves(
        "Disagreement with the cloud",
        "Share of all samples whose result differs from what the cloud would say, by audit; and the bound"
        " of what accuracy may be lost, as certified and with what goes unserved.",
        "percentunit",
        Query(q.once(q.of_nodes("tidegate_stream_disagreement_ratio")), "{{bound}}"),
        Query(q.once(q.of_nodes("tidegate_certificate_epsilon")), "certified"),
        Query(q.once(q.of_nodes("tidegate_certificate_risk")), "risk"),
    )
    evidence = q.once(q.of_nodes("tidegate_audit_evidence"))
    yield magnitudes("Evidence of drift", "1 is none, 1000 is an alarm.", "none", Query(evidence, "evidence"))
    yield curves(
        "Gate",
        "Score from which the edge is trusted, and what is deferred, certified and audited.",
        "percentunit",
        Query(q.once(q.of_nodes("tidegate_gate_threshold")), "threshold"),
        Query(f"{q.rate(q.DEFERRED)} / {q.rate(q.RESULTS)}", "deferred"),
        Query(q.once(q.of_nodes("tidegate_certificate_offload_ratio")), "deferred when certified"),
        Query(q.once(q.of_nodes("tidegate_audit_share_ratio")), "audited"),
    )


def machine() -> Iterator[Panel]:
    yield curves(
        "Bytes at the sockets",
        "With framing and TLS.",
        "binBps",
        Query(q.rate(q.NETWORK, "transport, direction"), "{{transport}} {{direction}}"),
    )
    power = q.rate(q.ENERGY, "source, part")
    yield curves("Power", "By sensor, or estimated.", "watt", Query(power, "{{part}}, {{source}}"))
    cpu = q.rate(q.of_nodes("process_cpu_seconds_total"))
    yield curves("Processor", "Cores that it keeps busy.", "none", Query(cpu, "cores"))
    memory = q.total(q.of_nodes("process_resident_memory_bytes"))
    yield curves("Memory", "", "bytes", Query(memory, "resident"))
    labels = "name, version, precision, sha256"
    yield rows("Model", "", Query(f"max by ({labels}) ({q.MODELS})"))
    yield rows("Version", "", Query(f"max by (version) ({q.of_nodes('tidegate_build_info')})"))


BOARD = Board("Device", ("site", "node"), sections, several=False)
