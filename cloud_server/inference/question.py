"""What is asked of a model."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

from cloud_server.inference.call import Call
from protos.codec import PlainHeader, Tensor


class Wanted(NamedTuple):
    """An output that is asked for."""

    name: str
    classes: int = 0
    """As its best classes, so many; 0: as it is."""


class Asked(Struct, frozen=True, cache_hash=True):
    """All of a question but what it feeds: a device asks the same again and again."""

    model: str
    version: str
    headers: tuple[PlainHeader, ...]
    """What is said of its tensors."""
    wanted: tuple[Wanted, ...] = ()
    """Empty: every output."""


class Question(Struct, frozen=True):
    """One request, as far as it has been read."""

    asked: Asked
    size: int
    """Bytes of it all."""
    tensors: Callable[[], Mapping[str, Tensor]]
    """Reads them: not before it is clear that there is a model for them."""
    call: Call
