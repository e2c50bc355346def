"""One look at a node's `/metrics`."""

import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from math import isnan, nan
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from edge_node.errors import NodeError
from edge_node.top.errors import NotShown

PATIENCE = 5.0
"""Seconds that a node may take to answer."""
MOST = 4 * 2**20
"""Bytes; the metrics of a node are 30 kB."""
SAMPLES = "tidegate_samples_total"

Series = tuple[dict[str, str], float]


@dataclass(frozen=True)
class Reading:
    """All series by name. ``at``: monotonic seconds; ``clock``: seconds since 1970."""

    at: float
    clock: float
    series: dict[str, list[Series]]

    def value(self, name: str, **labels: str) -> float:
        """Sum of the series that have these labels and are a number; NaN if there is none."""
        found = [value for _, value in self._with(name, labels) if not isnan(value)]
        return sum(found) if found else nan

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Such sums, for each value of a label."""
        values = dict.fromkeys(series[label] for series, _ in self._with(name, labels) if label in series)
        return {value: self.value(name, **labels, **{label: value}) for value in values}

    def info(self, name: str, label: str) -> str:
        """What an info metric says; empty if it says nothing."""
        return next((labels.get(label, "") for labels, _ in self.series.get(name, ())), "")

    def cumulative(self) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
        """Every series that only a restart makes fall."""
        for name, series in self.series.items():
            if name.endswith(("_total", "_count", "_bucket")):
                for labels, value in series:
                    yield (name, frozenset(labels.items())), value

    def _with(self, name: str, labels: dict[str, str]) -> Iterator[Series]:
        return (it for it in self.series.get(name, ()) if labels.items() <= it[0].items())


def address(text: str) -> str:
    """The whole of a URL of which host and port are enough; ``NodeError`` if it is none."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known or any(it.isspace() or not it.isprintable() for it in url):
        raise NodeError(f"{text!r} is no address of metrics: HOST:PORT or http://HOST:PORT/metrics")
    return parts._replace(path=parts.path.rstrip("/") or "/metrics").geturl()


def fetch(url: str) -> Reading:
    """Ask now. ``NotShown`` says what came instead of a node's metrics."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 # http only: see address
            text = answer.read(MOST).decode()
        return parse(text, time.monotonic(), time.time())
    except HTTPError as error:
        raise NotShown(url, f"the answer is {error.code} {error.reason}") from error
    except URLError as error:
        raise NotShown(url, _words(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise NotShown(url, _words(error)) from error
    except ValueError as error:  # no UTF-8, or no exposition
        raise NotShown(url, "these are not the metrics of a node") from error


def parse(text: str, at: float, clock: float) -> Reading:
    """An exposition; ``ValueError`` if it is none, or none of a node."""
    series: dict[str, list[Series]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append((sample.labels, sample.value))
    if SAMPLES not in series:
        raise ValueError
    return Reading(at, clock, series)


def _words(reason: object) -> str:
    text = (isinstance(reason, OSError) and reason.strerror) or str(reason)
    return text.lower() or "no answer"
