"""How much one request may bring, by what its model takes."""

from math import prod

from cloud_server.errors import TooLarge
from cloud_server.inference.model import Card
from protos.artifact import TensorSpec
from protos.codec import DTYPES

BATCH = 32
"""Samples that one call may bring where the model leaves the batch free."""
SMALLEST, LARGEST = 4 << 20, 64 << 20
"""Bytes: any request may be as large as the one, no batch larger than the other."""
HEADERS = 1 << 16
"""Bytes of a request beside its tensors."""
TYPED = 2
"""Bytes that one byte of a small integer takes as typed contents."""
TEXT = 32
"""Bytes that a number takes in JSON."""


def check(card: Card, size: int) -> None:
    """``TooLarge`` if no request to this model is so large; the port lets through what the largest may be."""
    if size > (most := request_bytes(card)):
        raise TooLarge(f"the request, of {size} bytes,", most)


def check_json(card: Card, size: int) -> None:
    """``TooLarge`` if that is to come as binary data."""
    if size > (most := json_bytes(card)):
        raise TooLarge(f"the JSON, of {size} bytes, is to be binary data: it", most)


def request_bytes(card: Card) -> int:
    """One sample always fits; a batch up to ``LARGEST``, and so do free sizes and encoded images."""
    sample = TYPED * sum(map(_sample_bytes, card.inputs)) + HEADERS
    bounded = card.images is None and all(-1 not in spec.shape[1:] for spec in card.inputs)
    return max(SMALLEST, sample, min(BATCH * sample, LARGEST) if bounded else LARGEST)


def json_bytes(card: Card) -> int:
    """What of a request may be JSON: three bytes of it can become a hundred in memory."""
    sample = TEXT * sum(map(_elements, card.inputs)) + HEADERS
    return min(max(SMALLEST, sample), request_bytes(card))


def _sample_bytes(spec: TensorSpec) -> int:
    return DTYPES[spec.datatype].itemsize * _elements(spec)


def _elements(spec: TensorSpec) -> int:
    return prod(max(size, 1) for size in spec.shape)
