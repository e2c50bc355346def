"""The parts of the screen: each says in rows what one side of the node does."""

from collections.abc import Iterator
from math import isnan, nan

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edge_node.top import words
from edge_node.top.drawing import PARTS, Bar, Curve, facts
from edge_node.top.history import DURATION, MINUTE, Point, Span
from edge_node.top.words import ALARM, UNKNOWN, clean

FIT = 2
"""Lines for degraded answers where there is little room."""
WELL = {"confident": "edge", "cloud": "cloud"}
"""The reasons of answers that are not degraded, and how they are drawn."""

Rows = Iterator[tuple[str, RenderableType]]


def period(span: Span) -> str:
    """Of what time the figures are."""
    if span.old is None:
        return "since its start"
    return "last minute" if span.seconds > MINUTE - 5 else f"last {span.seconds:.0f} s"


def latency(span: Span, curves: list[Point], *, roomy: bool) -> Table:
    """Edge and cloud side by side."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=11 if not roomy else 24)
    for _ in range(3):
        table.add_column(width=10, justify="right", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    heads = ("", "p50", "p99", "answers/s", "p50 over time")
    table.add_row(*(Text(it, "quiet", justify="right" if it else "left") for it in heads))
    for route in ("edge", "cloud"):
        curve = Curve([getattr(point, route) for point in curves], route)
        table.add_row(Text(route, route), *_quantiles(span, DURATION, route=route), curve)
    table.add_row("all answers", *_quantiles(span, DURATION), "")
    if roomy:
        table.add_row("edge alone would take", *_quantiles(span, "tidegate_edge_only_duration_seconds"), "")
        table.add_row("cloud alone, estimated", *_estimate(span), "", "")
    return table


def _quantiles(span: Span, name: str, **labels: str) -> list[str]:
    shares = (span.quantile(share, name, **labels) for share in (0.5, 0.99))
    return [*map(words.seconds, shares), words.number(span.rate(f"{name}_count", **labels))]


def _estimate(span: Span) -> list[str]:
    name = "tidegate_cloud_only_latency_quantile_seconds"
    return [words.seconds(span.new.value(name, at=at)) for at in ("p50", "p99")]


def offload(span: Span) -> str:
    """The share that the cloud answered, in words; empty if nobody answered."""
    made = span.grown("tidegate_results_total")
    share = span.grown("tidegate_results_total", route="cloud") / made if made else nan
    return "" if isnan(share) else f", {words.percent(share)} offloaded"


def answers(span: Span, *, roomy: bool) -> Table:
    """Who answered, and why."""
    grown = span.grown_by("reason", "tidegate_results_total")
    total = sum(grown.values())
    if not total:
        return facts([("", Text(f"none, {period(span)}", "quiet"))], 1)
    shares = {reason: value / total for reason, value in grown.items() if value}
    degraded = {reason: share for reason, share in shares.items() if reason not in WELL}
    parts = [(style, shares.get(reason, 0.0)) for reason, style in WELL.items()]
    table = Table.grid(expand=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_row(Bar([*parts, ("warn", sum(degraded.values()))]))
    for reason, style in WELL.items():
        table.add_row(_share(style, shares.get(reason, 0.0), words.REASONS[reason]))
    for row in _degraded(degraded, len(degraded) if roomy else FIT):
        table.add_row(row)
    return table


def _degraded(shares: dict[str, float], most: int) -> Iterator[Text]:
    ranked = sorted(shares.items(), key=lambda it: -it[1])
    named = ranked if len(ranked) <= most else ranked[: most - 1]
    for reason, share in named:
        yield _share("warn", share, words.REASONS.get(reason, clean(reason)))
    if rest := ranked[len(named) :]:
        yield _share("warn", sum(share for _, share in rest), f"{len(rest)} other reasons")


def _share(style: str, share: float, name: str) -> Text:
    return Text.assemble((PARTS[style], style), f"{words.percent(share):>8}  {name}", no_wrap=True)


def certificate(span: Span, *, roomy: bool) -> Table:
    """What is promised, whether it stands, and on what evidence."""
    return facts(_promise(span, roomy=roomy))


def _promise(span: Span, *, roomy: bool) -> Rows:
    now = span.new
    grounds = now.by("ground", "tidegate_certificate_standing")
    ground = next((it for it, value in grounds.items() if value == 1), "")
    name, why = words.GROUNDS.get(ground, (clean(ground) or UNKNOWN, "not known"))
    style = {"valid": "good", "none": "quiet"}.get(ground, "wrong")
    yield "standing", Text.assemble((name, style), f", {why}")
    epsilon, risk = (now.value(f"tidegate_certificate_{it}") for it in ("epsilon", "risk"))
    current = f"{words.points(risk)} now", "warn" if risk > epsilon else ""
    yield "epsilon", Text.assemble(f"{words.points(epsilon)} points at most, ", current)
    fails = words.percent(now.value("tidegate_certificate_delta"), 2)
    yield "delta", f"{fails} chance to be wrong"
    audits = now.by("outcome", "tidegate_audits")
    missing = audits.get("missing", 0)
    yield "audits", f"{words.count(audits.get('answered', 0))} answered, {words.count(missing)} missing"
    evidence = now.value("tidegate_audit_evidence")
    alarm = "wrong" if evidence >= ALARM else "warn" if evidence >= ALARM / 10 else ""
    yield "e-value", Text.assemble((words.number(evidence), alarm), f", alarm at {ALARM:,.0f}")
    if roomy:
        kept = {it: now.value("tidegate_disagreement_ratio", bound=it) for it in ("estimate", "low", "high")}
        low, high = words.percent(1 - kept["high"]), words.percent(1 - kept["low"])
        certified = now.value("tidegate_certificate_offload_ratio")
        yield "offload", f"{words.percent(certified)} when certified"
        yield "agrees", f"{words.percent(1 - kept['estimate'])} of kept answers, {low} to {high}"


def cloud(span: Span, *, configured: bool | None, roomy: bool) -> Table:
    """The way to the cloud."""
    return facts(_calls(span, configured=configured, roomy=roomy))


def _calls(span: Span, *, configured: bool | None, roomy: bool) -> Rows:
    now = span.new
    state = now.value("tidegate_circuit_state")
    name, meaning = words.CIRCUIT.get(state, (UNKNOWN, "not known"))
    style = "good" if state == 0 else "wrong" if state == 2 else "warn"
    alone = configured is False or now.value("tidegate_results_total", reason="edge_only") > 0
    circuit = Text.assemble((name, style), f", {meaning}")
    yield "circuit", Text("no cloud is set up", "quiet") if alone else circuit
    retries = "tidegate_cloud_retries_total"
    flying = words.count(now.value("tidegate_deferrals_in_flight"))
    yield "calls", f"{flying} in flight, {words.count(span.grown(retries))} retries"
    held = now.value("tidegate_held_inputs")
    bytes_held = words.size(now.value("tidegate_held_bytes"))
    yield "held", f"{words.count(held)} inputs, {bytes_held}" if held else "no inputs"
    if roomy:
        yield "retries", f"{words.count(now.value(retries))} in all"
        yield from _stages(span, {"network": "network", "cloud_queue": "queue", "cloud_compute": "compute"})


def _stages(span: Span, stages: dict[str, str]) -> Rows:
    name = "tidegate_stage_duration_seconds"
    for stage, shown in stages.items():
        middle, high = (span.quantile(it, name, stage=stage) for it in (0.5, 0.99))
        yield shown, UNKNOWN if isnan(middle) else f"p50 {words.seconds(middle)}, p99 {words.seconds(high)}"


def outbox(span: Span, curves: list[Point], *, configured: bool | None, roomy: bool) -> Table:
    """What waits to be sent, and what was lost."""
    return facts(_waiting(span, curves, configured=configured, roomy=roomy))


def _waiting(span: Span, curves: list[Point], *, configured: bool | None, roomy: bool) -> Rows:
    now = span.new
    waiting = now.value("tidegate_queued_results")
    yield "broker", _broker(now.value("tidegate_mqtt_connected") == 1, configured, waiting)
    if waiting > 0:
        rows = f"{words.count(waiting)}, {words.size(now.value('tidegate_queued_result_bytes'))}"
        yield "waiting", f"{rows}, oldest {words.age(now.value('tidegate_queued_result_age_seconds'))}"
    else:
        yield "waiting", "nothing"
    yield "dropped", _dropped(span)
    if roomy:
        yield "over time", Curve([point.queued for point in curves], "quiet")
        yield from _stages(span, {"publish": "publish"})


def _broker(connected: bool, configured: bool | None, waiting: float) -> Text:  # noqa: FBT001
    if connected:
        return Text("Connected", "good")
    if configured is False or (configured is None and not waiting > 0):
        return Text("none is connected", "quiet")
    return Text.assemble(("Away", "wrong"), ", results wait")


def _dropped(span: Span) -> Text:
    """Since the node's start: a loss does not become less by growing old."""
    lost = {
        words.DROPS.get(it, clean(it)): n
        for it, n in span.new.by("reason", "tidegate_dropped_results_total").items()
    }
    lost["inputs"] = span.new.value("tidegate_dropped_samples_total")
    told = ", ".join(f"{words.count(n)} {why}" for why, n in lost.items() if n > 0)
    return Text(told, "wrong") if told else Text("nothing")


def network(span: Span) -> Table:
    """Bytes on the wire, and what all-cloud would have put there."""
    return facts(_traffic(span))


def _traffic(span: Span) -> Rows:
    name, sent = "tidegate_network_bytes_total", span.rate("tidegate_network_bytes_total", transport="grpc")
    alone = span.rate("tidegate_cloud_only_network_bytes_total")
    yield "gRPC", f"{words.size(sent)}/s"
    saved = Text(f"{words.size(alone)}/s")
    if alone > 0:
        saved.append(", ").append(f"{words.percent(1 - sent / alone, 0)} saved", "strong")
    yield "all-cloud", saved
    yield "MQTT", f"{words.size(span.rate(name, transport='mqtt'))}/s"


def energy(span: Span) -> Table:
    """Joules, and who says so."""
    name = "tidegate_energy_joules_total"
    sources = span.new.by("source", name)
    if not sources:
        return facts([("source", Text("no sensor, no [energy] device", "quiet"))])
    source, total = next(iter(sources.items()))
    joules, made = span.grown(name), span.grown("tidegate_results_total")
    each = f"{words.number(joules / made * 1e3)} mJ" if made else UNKNOWN
    return facts(
        [
            ("power", Text.assemble(f"{words.number(span.rate(name))} W, ", (clean(source), "strong"))),
            ("an answer", each),
            ("in all", f"{words.number(total / 1e3)} kJ"),
        ]
    )
