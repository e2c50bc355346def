"""An acknowledgement: how far the results sink has stored what a node sent, retained for the node to find."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""What every database has room for."""


class Ack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything up to a number is stored, or known never to come."""

    schema: Literal["tidegate.ack/1"] = "tidegate.ack/1"
    stream: Number
    """Whose numbers are meant: the session in which the node's outbox was made."""
    seq: Number
    """The highest number below which nothing is open, itself included."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Ack)


def encode(ack: Ack) -> bytes:
    """UTF-8 JSON on one line."""
    return _ENCODER.encode(ack)


def decode(payload: bytes) -> Ack:
    """The ack in a payload; ``msgspec.ValidationError`` or ``msgspec.DecodeError`` if it is none."""
    return _DECODER.decode(payload)
