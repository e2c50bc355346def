"""What a caller may do, and how often."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from cloud_server.access import callers
from cloud_server.config import Access
from cloud_server.errors import Forbidden, Overloaded
from cloud_server.metrics import Meter

ANY = "*"
_MOST = 10_000
"""Callers whose rate is kept in mind; beyond that those who have been quiet are forgotten."""


class Rights:
    """As ``[access]`` says. ``named``: callers have names, and who has none may do nothing."""

    def __init__(self, settings: Access, *, named: bool, meter: Meter) -> None:
        self._settings, self._named, self._meter = settings, named, meter
        self._open = not named and not settings.models
        self._rates = Rates(settings.rate, settings.burst) if settings.rate else None

    def sees(self, model: str) -> bool:
        """Whether this caller may know of a model, there or not."""
        identity = callers.current().identity
        if identity is None and self._named:
            return False
        allowed = self._settings.models
        mine = allowed.get(identity or ANY, allowed.get(ANY, ())) if allowed else (ANY,)
        return ANY in mine or model in mine

    def require_model(self, model: str) -> None:
        """``Forbidden`` if this caller may not use that model, whether it is there or not."""
        if not self._open and not self.sees(model):
            self._meter.refused_callers.labels("model").inc()
            raise Forbidden(f"{_whose()} may not use model {model!r}")

    def require_control(self) -> None:
        """``Forbidden`` if this caller may not load and unload models."""
        if self._named and callers.current().identity not in self._settings.control:
            self._meter.refused_callers.labels("control").inc()
            raise Forbidden(f"{_whose()} may not load or unload models: [access] control does not name it")

    def require_answer(self, model: str, identity: str | None) -> None:
        """As ``require_model``; ``Overloaded`` if this caller, of this name, asks more often than it may.

        Where callers have no names they share one rate.
        """
        if not self._open:
            self.require_model(model)
        if self._rates is not None and (wait := self._rates.wait(identity)):
            self._meter.shed_by["rate"].inc()
            who = _whose() if self._named else "all callers together"
            raise Overloaded(f"{who} may ask {self._settings.rate:g} times a second", wait)


@dataclass(slots=True)
class _Bucket:
    """Tokens as of a time."""

    tokens: float
    at: float


class Rates:
    """A bucket of tokens for each caller, filled at one rate. Any number of threads may ask."""

    def __init__(self, rate: float, burst: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst or max(1.0, rate), clock
        self._buckets: dict[str | None, _Bucket] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, caller: str | None) -> float:
        """Takes a token; if there is none, the seconds until there is one."""
        with self._lock:
            now = self._clock()
            if caller not in self._buckets and len(self._buckets) >= _MOST:
                self._forget(now)
            bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
            bucket.at = now
            if bucket.tokens < 1:
                return (1 - bucket.tokens) / self._rate
            bucket.tokens -= 1
            return 0.0

    def _forget(self, now: float) -> None:
        """Of a bucket that is full again by now nothing is lost."""
        full = self._burst / self._rate
        self._buckets = {key: it for key, it in self._buckets.items() if now - it.at < full}


def _whose() -> str:
    identity = callers.current().identity
    return "who does not say who it is" if identity is None else f"{identity!r}"
