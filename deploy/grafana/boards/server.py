"""Cloud server: what answers deferrals and stores results."""

from collections.abc import Iterator

from deploy.grafana import queries as q
from deploy.grafana.board import Board
from deploy.grafana.panels import PER_SECOND, Panel, curves, durations, figure, rows, stacked, states
from deploy.grafana.queries import Query

SHARES = (0.5, "p50"), (0.99, "p99")
REQUESTS = q.of_servers("tidegate_requests_total")
REQUEST_SECONDS = q.of_servers("tidegate_request_duration_seconds_bucket", 'method=~"Model(Stream)?Infer"')
MODEL_SECONDS = q.of_servers("tidegate_model_inference_duration_seconds_bucket")
LAG = q.of_servers("tidegate_store_lag_seconds_bucket")
TRANSACTIONS = q.of_servers("tidegate_store_transaction_duration_seconds_bucket")
EXPIRY = q.of_servers("tidegate_tls_certificate_expiry_timestamp_seconds")


def sections() -> dict[str, Iterator[Panel]]:
    """Panels by row."""
    return {"": figures(), "Inference": inference(), "Results of the fleet": storing(), "Machine": machine()}


def figures() -> Iterator[Panel]:
    failed = q.server_rate(q.of_servers("tidegate_requests_total", 'code!="OK"'))
    yield figure("Calls", "Of all methods.", "reqps", Query(q.server_rate(REQUESTS)))
    errors = Query(f"({failed} or vector(0)) / {q.server_rate(REQUESTS)}")
    yield figure("Not answered well", "Share with another status than OK.", "percentunit", errors)
    p99 = Query(q.server_quantile(0.99, REQUEST_SECONDS))
    yield figure("p99", "Of an inference, from a thread taking the call to its answer.", "s", p99)
    stored = Query(q.server_rate(q.of_servers("tidegate_stored_results_total")))
    yield figure("Results stored", "", PER_SECOND, stored)
    missing = Query(f"sum({q.of_servers('tidegate_missing_results')})")
    yield figure("Results that will never come", "Of all time: cloud-server gaps.", "none", missing)
    yield figure("Certificate ends in", "The first, for TLS.", "s", Query(f"min({EXPIRY}) - time()"))


def inference() -> Iterator[Panel]:
    yield stacked(
        "Requests",
        "By gRPC status.",
        "reqps",
        Query(q.server_rate(REQUESTS, "method, code"), "{{method}} {{code}}"),
    )
    calls = (Query(q.server_quantile(share, REQUEST_SECONDS), f"call {name}") for share, name in SHARES)
    runs = (
        Query(q.server_quantile(share, MODEL_SECONDS, "model"), f"{{{{model}}}} {name}")
        for share, name in SHARES
    )
    about = "The whole call, and the run of the model inside it."
    yield durations("Time of an inference in the server", about, *calls, *runs)
    in_flight = f"sum by (instance) ({q.of_servers('tidegate_requests_in_flight')})"
    yield curves("Requests in flight", "", "none", Query(in_flight, "{{instance}}"))
    labels = "instance, name, version, precision, sha256"
    yield rows("Models", "", Query(f"max by ({labels}) ({q.of_servers('tidegate_model_info')})"))


def storing() -> Iterator[Panel]:
    about = "By the clocks of two machines; without what waited for the broker."
    lag = (Query(q.server_quantile(share, LAG), name) for share, name in SHARES)
    yield durations("From capture to storage", about, *lag)
    took = (Query(q.server_quantile(share, TRANSACTIONS), name) for share, name in SHARES)
    yield durations("Transactions", "Of one or many results.", *took)
    refused = q.server_rate(q.of_servers("tidegate_refused_results_total"), "reason")
    yield curves(
        "Results that come",
        "",
        PER_SECOND,
        Query(q.server_rate(q.of_servers("tidegate_stored_results_total")), "stored"),
        Query(q.server_rate(q.of_servers("tidegate_duplicate_results_total")), "stored already"),
        Query(f"{refused} or vector(0)", "refused {{reason}}"),
    )
    reports = q.server_rate(q.of_servers("tidegate_refused_reports_total"), "reason")
    yield curves(
        "Snapshots of nodes' metrics",
        "",
        PER_SECOND,
        Query(q.server_rate(q.of_servers("tidegate_snapshots_total")), "taken"),
        Query(f"{reports} or vector(0)", "refused {{reason}}"),
    )
    yield states(
        "Connections",
        "",
        "away",
        "there",
        Query(q.of_servers("tidegate_store_up"), "database"),
        Query(q.of_servers("tidegate_fleet_broker_connected"), "broker, for results"),
        Query(q.of_servers("tidegate_bridge_connected"), "broker, for metrics"),
    )
    yield curves(
        "Nodes",
        "By birth, last will and snapshots.",
        "none",
        Query(f"sum by (state) ({q.of_servers('tidegate_fleet_nodes')})", "{{state}}"),
        Query(f"sum({q.of_servers('tidegate_nodes')})", "in the store"),
    )


def machine() -> Iterator[Panel]:
    yield curves(
        "Bytes at the sockets",
        "With framing and TLS.",
        "binBps",
        Query(
            q.server_rate(q.of_servers("tidegate_network_bytes_total"), "transport, direction"),
            "{{transport}} {{direction}}",
        ),
    )
    cpu = q.server_rate(q.of_servers("process_cpu_seconds_total"), "instance")
    yield curves("Processor", "Cores that it keeps busy.", "none", Query(cpu, "{{instance}}"))
    memory = f"sum by (instance) ({q.of_servers('process_resident_memory_bytes')})"
    yield curves("Memory", "", "bytes", Query(memory, "{{instance}}"))
    series = f"sum by (instance) ({q.of_servers('tidegate_fleet_series')})"
    yield curves("Series of nodes", "Shown on its /metrics.", "none", Query(series, "{{instance}}"))


BOARD = Board("Cloud server", ("server",), sections)
