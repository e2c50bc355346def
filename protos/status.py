"""A status message: a node's birth, and its last will, retained for whoever listens later."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

LARGEST = 16_384
"""Bytes of a payload; a birth takes about 500."""

Text = Annotated[str, Meta(max_length=128)]


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """What is not known here is from a newer node."""


class Versions(_Part, frozen=True, kw_only=True):
    """Of the software."""

    tidegate: Text = ""
    python: Text = ""


class Model(_Part, frozen=True, kw_only=True):
    """The edge model."""

    name: Text
    version: Text = ""
    precision: Text = ""
    sha256: Text = ""
    threads: Annotated[int, Meta(ge=0)] = 0


class Gate(_Part, frozen=True, kw_only=True):
    """As the node came online."""

    policy: Text
    temperature: float | None = None
    threshold: float | None = None


class Status(_Part, frozen=True, kw_only=True):
    """``online`` says the rest; ``offline`` says only whose end it is."""

    schema: Literal["tidegate.status/1"]
    state: Literal["online", "offline"]
    session: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """A run of the node. A last will speaks for its own session, and for no later one."""
    versions: Versions = Versions()
    model: Model | None = None
    gate: Gate | None = None


_DECODER = msgspec.json.Decoder(Status)


def decode(payload: bytes) -> Status:
    """The status in a payload; ``ValueError`` if it is none, or too large."""
    if len(payload) > LARGEST:
        raise ValueError(f"{len(payload)} bytes")
    return _DECODER.decode(payload)
