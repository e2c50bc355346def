"""Samples from standard input, a JSON line each."""

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import msgspec

from edge_node.errors import SampleError, SourceError
from edge_node.sample import Sample
from edge_node.sources.parse import json_array, read_file
from protos.codec import Tensor

_TICK = 0.2
"""Seconds between looks at ``stop``."""
MAX_LINE = 16 * 2**20
"""Bytes. A longer line is no sample, and must not fill the memory."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    sample: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    file: str | None = None


class StdinSource:
    """Line after line; a sample is named by its own ``sample``, else by its line number."""

    live = False

    def __init__(self) -> None:
        if sys.stdin is None:
            raise SourceError("standard input", "is closed")

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Lines until the end of input; empty ones are skipped."""
        for number, line in enumerate(_lines(sys.stdin.fileno(), stop), 1):
            if line.strip():
                yield _sample(line, number)


def _lines(descriptor: int, stop: Event) -> Iterator[bytes]:
    """Lines of a descriptor as they come. No buffered reader: it would block past ``stop``."""
    rest = bytearray()
    while not stop.is_set():
        if not select.select([descriptor], [], [], _TICK)[0]:
            continue
        chunk = os.read(descriptor, 1 << 20)
        first, *others = chunk.split(b"\n")
        rest += first
        for line in others:
            yield bytes(rest)
            rest = bytearray(line)
        if len(rest) > MAX_LINE:
            raise SourceError("standard input", f"a line is longer than {MAX_LINE} bytes")
        if not chunk:
            break
    if rest and not stop.is_set():
        yield bytes(rest)


def _sample(line: bytes, number: int) -> Sample:
    if line.lstrip().startswith(b"["):
        return Sample(str(number), json_array(line))
    try:
        named = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, RecursionError) as error:
        return Sample(str(number), SampleError(f"neither an array nor an object with data or file: {error}"))
    return Sample(named.sample or named.file or str(number), _data(named))


def _data(named: _Line) -> Tensor | bytes | SampleError:
    if named.file is not None:
        return read_file(Path(named.file))
    return json_array(named.data) if bytes(named.data) else SampleError("has neither data nor file")
