"""The sink's word to a node."""

import msgspec
import pytest

from protos import ack
from protos.ack import Ack


def test_what_is_sent_is_what_is_read() -> None:
    said = Ack(stream=7, seq=2**63 - 1)
    assert ack.encode(said) == b'{"schema":"tidegate.ack/1","stream":7,"seq":9223372036854775807}'
    assert ack.decode(ack.encode(said)) == said


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"7",
        b'{"stream":7}',
        b'{"stream":7,"seq":-1}',
        b'{"stream":7,"seq":9223372036854775808}',
        b'{"stream":7,"seq":1,"more":0}',
        b'{"schema":"tidegate.ack/2","stream":7,"seq":1}',
    ],
)
def test_what_is_no_ack(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        ack.decode(payload)
