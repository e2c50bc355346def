"""The protocol's parameters that this server knows; it passes over all others, as the protocol asks."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cloud_server.access import callers
from cloud_server.errors import BadInput, NotOffered
from cloud_server.inference.call import USUAL, Call

Parameters = Mapping[str, Any]
"""bool, int, float or str by name."""

_LARGEST = 1 << 63
FOREVER = 1e6
"""Seconds: who has as many has no deadline. gRPC says a large number where there is none."""


def plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """``InferParameter`` by name -> what is in it; one with nothing in it is left out."""
    chosen = {name: (it, it.WhichOneof("parameter_choice")) for name, it in parameters.items()}
    return {name: getattr(it, choice) for name, (it, choice) in chosen.items() if choice}


class Wishes(NamedTuple):
    """What a request says of when it is to be answered."""

    timeout: float
    """Seconds; infinite without one."""
    priority: int


NONE = Wishes(math.inf, USUAL)


def wishes(parameters: Parameters) -> Wishes:
    """``timeout`` is in microseconds; of either 0 says nothing. ``BadInput`` if it is no number."""
    timeout, priority = number(parameters, "timeout"), number(parameters, "priority")
    return Wishes(timeout / 1e6 or math.inf, priority or USUAL)


def call(
    wishes: Wishes,
    left: float = math.inf,
    alive: Callable[[], bool] = lambda: True,
    *,
    seated: bool = False,
) -> Call:
    """As its caller wishes, who is the current one. ``left``: seconds that the transport gives it."""
    least = min(wishes.timeout, left)
    deadline = time.monotonic() + least if least < FOREVER else None
    return Call(callers.current().identity, deadline, wishes.priority, seated, alive)


def classes(parameters: Parameters) -> int:
    """As how many classes an output is wanted; 0: as it is."""
    if "shared_memory_region" in parameters:
        raise NotOffered("this server shares no memory with its callers: ask without shared_memory_region")
    return number(parameters, "classification")


def number(parameters: Parameters, name: str) -> int:
    """A whole number, 0 or more, and 0 if it is not there; ``BadInput`` if it is something else."""
    value = parameters.get(name, 0)
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise BadInput(f"parameter {name!r}: {value!r}, expected a whole number, 0 or more")
    return value
