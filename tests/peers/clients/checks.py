"""What every client is asked to do: a script registers the calls that its client has, and says how they went.

Each script is run as ``SCRIPT GRPC_TARGET REST_ADDRESS JPEG``, where the client lives; it prints JSON.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

CALLS = (
    "liveness and readiness of the server",
    "readiness of a model, and of one that is not there",
    "metadata of the server",
    "metadata of a model",
    "inference, binary contents",
    "inference, typed contents or JSON",
    "two inputs, and one of two outputs",
    "text in a BYTES tensor",
    "a JPEG in a BYTES tensor",
    "half floats (FP16)",
    "the best classes, with their names",
    "the request's id comes back",
    "priority and timeout",
    "16 calls at once, each with its own answer",
    "a stream",
    "statistics of a model",
    "index, unloading and loading of models",
    "a refusal arrives with its reason",
)

ROWS = np.eye(3, dtype=np.float32)
"""What model ``cloud`` answers ten times as large."""
HALVES = np.array([0.5, -2], np.float16)
"""What model ``half`` repeats."""
TEXT = np.array([b"ebb", b"flow"], object)
"""What model ``text`` repeats."""
GREEN = [[0.0, 200.0, 0.0]]
"""What model ``colour`` says of the JPEG."""

_checks: dict[str, Callable[[], Any]] = {}


def target() -> str:
    """Of gRPC."""
    return sys.argv[1]


def address() -> str:
    """``host:port`` of REST."""
    return sys.argv[2]


def jpeg() -> np.ndarray:
    """A tensor with one image."""
    return np.array([Path(sys.argv[3]).read_bytes()], object)


def check(number: int) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """This function makes call ``number`` of the list, counted from 1, and raises if it goes wrong."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        _checks[CALLS[number - 1]] = function
        return function

    return register


def same(found: Any, expected: Any) -> None:
    """``AssertionError`` unless both are the same numbers, or texts, in the same shape."""
    if not np.array_equal(np.asarray(found), np.asarray(expected)):
        raise AssertionError(f"{found!r}, not {expected!r}")


@contextmanager
def refused(kind: type[Exception]) -> Iterator[None]:
    """What is done inside fails so, and says that the shape [1, 4] will not do."""
    try:
        yield
    except kind as error:
        if "shape [1, 4]" in str(error):
            return
        raise
    raise AssertionError("it was not refused")


def main() -> None:
    """Make every call, and print what went wrong with each, or nothing."""
    said = {}
    for call, function in _checks.items():
        try:
            found = function()
            if inspect.isawaitable(found):
                asyncio.run(_wait(found))
            said[call] = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            said[call] = f"{type(error).__name__}: {error}"
    print(json.dumps(said))  # noqa: T201 - read by whoever started this


async def _wait(found: Any) -> None:
    await asyncio.wait_for(found, 20)
