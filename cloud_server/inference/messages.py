"""What of a message can be told before it is parsed: how many parts it has.

Two bytes on the wire can be an empty tensor of a hundred bytes in memory: without this, a message that
fits the limit takes fifty times as much.
"""

from cloud_server.errors import BadInput

SMALL = 1 << 16
"""Bytes: no message of this size can do harm, nor is it looked at."""
MOST = 4096
"""Tensors and parameters in a larger one."""

_SIZES = {1: 8, 5: 4}
_LENGTH, _NUMBER, _GROUPS = 2, 0, (3, 4)


def check(message: bytes) -> None:
    """``BadInput`` if it has too many parts; garbage is left to who parses it."""
    at, parts, size = 0, 0, len(message)
    while size > SMALL and at < size:
        parts += 1
        if parts > MOST:
            raise BadInput(f"the message has more than {MOST} parts")
        tag, at = _number(message, at)
        kind = tag & 7
        if kind in (_LENGTH, _NUMBER):
            value, at = _number(message, at)
            at += value if kind == _LENGTH else 0
        elif kind in _SIZES:
            at += _SIZES[kind]
        elif kind not in _GROUPS:
            return


def _number(message: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = 0
    for shift, byte in zip(range(0, 70, 7), message[at : at + 10], strict=False):
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            break
    return value, at
