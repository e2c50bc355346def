"""What `edge-node top` makes of readings: rates, quantiles, restarts, words."""

import re
from math import inf, isnan
from pathlib import Path

import numpy as np
import pytest

from edge_node.gate.ground import Ground
from edge_node.metrics import DROPS, Meter
from edge_node.top import words
from edge_node.top.cli import from_config
from edge_node.top.history import DURATION, History, Span
from edge_node.top.reading import SAMPLES, Reading, address, parse
from protos.artifact import Artifact
from protos.buckets import DURATION_BUCKETS
from protos.result import Reason
from tests.ledger import exposition
from tests.nodes import write_config

DASHBOARD = Path(__file__).parents[2] / "cloud_server/dashboard/page/words.js"


def looked(meter: Meter, at: float) -> Reading:
    """A reading of this node at that time."""
    return parse(exposition(meter.registry), at, 1e9 + at)


def counted(samples: int) -> Meter:
    """A node that has taken so many."""
    meter = Meter()
    meter.samples.inc(samples)
    return meter


def test_a_rate_is_that_of_the_last_minute() -> None:
    meter, history = Meter(), History()
    for second in range(0, 122, 2):
        meter.samples.inc(100 if second <= 60 else 4)
        history.add(looked(meter, second))
    assert history.recent().seconds == 60
    assert history.recent().rate(SAMPLES) == pytest.approx(2)


def test_what_was_before_the_first_reading_counts_until_enough_is_seen() -> None:
    history = History()
    history.add(looked(counted(50), 0))
    assert history.recent().grown(SAMPLES) == 50
    history.add(looked(counted(50), 6))
    assert history.recent().grown(SAMPLES) == 0


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_quantile_is_in_the_bucket_of_the_raw_one(share: float) -> None:
    meter, seconds = Meter(), np.random.default_rng(7).lognormal(-6, 1.5, 2000)
    for it in seconds:
        meter.duration["edge"].observe(it)
    found = Span(None, looked(meter, 0)).quantile(share, DURATION, route="edge")
    raw = np.quantile(seconds, share, method="inverted_cdf")
    assert np.searchsorted(DURATION_BUCKETS, found) == np.searchsorted(DURATION_BUCKETS, raw)


def test_a_quantile_of_nothing_is_unknown_and_one_beyond_the_buckets_has_no_end() -> None:
    meter = Meter()
    meter.duration["cloud"].observe(60)
    span = Span(None, looked(meter, 0))
    assert isnan(span.quantile(0.5, DURATION, route="edge"))
    assert span.quantile(0.5, DURATION, route="cloud") == inf


def test_a_restart_begins_anew_and_no_rate_is_negative() -> None:
    before, after = looked(counted(900), 0), looked(counted(30), 10)
    assert Span(before, after).rate(SAMPLES) < 0, "the control: it would be"
    history = History()
    history.add(before)
    history.add(after)
    assert history.recent().grown(SAMPLES) == 30
    assert history.restarted(now=11)
    assert not history.restarted(now=1000)
    assert not history.curves


def test_a_restart_is_noticed_though_the_new_run_has_counted_more() -> None:
    history = History()
    history.add(looked(counted(10), 0))
    text = re.sub(
        r"(?m)^process_start_time_seconds .*",
        "process_start_time_seconds 5",
        exposition(counted(99).registry),
    )
    history.add(parse(text, 10, 20))
    assert history.restarted(now=11)


def test_a_run_that_goes_on_is_no_restart() -> None:
    history = History()
    for at, samples in ((0, 10), (10, 10), (20, 12)):
        history.add(looked(counted(samples), at))
    assert not history.restarted(now=21)
    assert [point.samples for point in history.curves] == pytest.approx([0, 0.2])


def test_every_reason_ground_and_drop_has_its_words() -> None:
    assert set(words.REASONS) == set(Reason)
    assert set(words.GROUNDS) == set(Ground)
    assert set(words.DROPS) == set(DROPS)


def test_reasons_are_called_what_the_dashboard_calls_them() -> None:
    block = DASHBOARD.read_text().partition("REASONS = {")[2].partition("}")[0]
    assert dict(re.findall(r'(\w+): "([^"]+)"', block)) == words.REASONS


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (words.seconds(0.00069), "0.69 ms"),
        (words.seconds(2.5), "2.50 s"),
        (words.seconds(inf), "> 10 s"),
        (words.age(59), "59 s"),
        (words.age(3 * 3600 + 12 * 60), "3 h 12 min"),
        (words.age(50 * 3600), "2 d 2 h"),
        (words.size(0), "0 B"),
        (words.size(1234567), "1.23 MB"),
        (words.size(float("nan")), "-"),
        (words.count(12_345_678), "12.3 M"),
        (words.percent(0.366), "36.6 %"),
    ],
)
def test_figures_are_short(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("pi:9464", "http://pi:9464/metrics"),
        ("http://pi:9464/", "http://pi:9464/metrics"),
        ("https://pi/node/metrics", "https://pi/node/metrics"),
    ],
)
def test_host_and_port_are_address_enough(given: str, url: str) -> None:
    assert address(given) == url


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:9999/metrics"), ("::", "http://[::1]:9999/metrics")],
)
def test_settings_say_where_the_node_is(tmp_path: Path, artifact: Artifact, host: str, url: str) -> None:
    view = from_config(write_config(tmp_path, artifact, metrics={"host": host, "port": 9999}))
    assert (view.url, view.name, view.cloud, view.mqtt) == (url, "lab/a", False, False)
