"""What can still be read of a damaged database: every sound row on every page, wherever the page lies.

Neither header nor tree nor log index is trusted (https://www.sqlite.org/fileformat2.html is): a page
that looks like a leaf of a table is searched for rows, and a row is one if its seal says so.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge_node.outbox.change import Held
from edge_node.outbox.format import State, decode_state, seal, seal_dead, seal_held

PAGE = 4096
"""SQLite's page size, unless it is told another."""
LEAF = 0x0D
_LOG_HEADER, _FRAME_HEADER = 32, 24
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Type of a column -> bytes of the integer."""

Value = int | float | bytes | str | None


@dataclass(slots=True)
class Found:
    """What was read; of a row that was found more than once, each form is whole."""

    state: State | None = None
    rows: dict[int, tuple[float, bytes]] = field(default_factory=dict)
    """Birth and payload by number."""
    dead: dict[tuple[float, bytes], str] = field(default_factory=dict)
    held: dict[str, tuple[float, Held]] = field(default_factory=dict)


def read(database: Path, wal: bytes) -> Found:
    """All sound rows of the database file and its log, those that had been deleted lately among them."""
    pages = [*_pages(_bytes(database)), *_frames(wal)]
    latest = dict(pages)
    found = Found()
    for number, page in pages:
        for row, columns in _cells(page, 100 if number == 1 else 0, latest):
            _take(found, row, columns)
    return found


def read_wal(database: Path) -> bytes:
    """The write-ahead log. To be read before anybody opens the database: who closes it last deletes this."""
    return _bytes(database.with_name(database.name + "-wal"))


def _pages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each page."""
    for at in range(0, len(content), PAGE):
        yield at // PAGE + 1, content[at : at + PAGE].ljust(PAGE, b"\0")


def _frames(wal: bytes) -> Iterator[tuple[int, bytes]]:
    """The same of each frame of the log, older ones first."""
    for at in range(_LOG_HEADER, len(wal) - _FRAME_HEADER, _FRAME_HEADER + PAGE):
        start = at + _FRAME_HEADER
        yield int.from_bytes(wal[at : at + 4]), wal[start : start + PAGE].ljust(PAGE, b"\0")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it is not there, or the medium does not give it
        return b""


def _cells(page: bytes, start: int, pages: dict[int, bytes]) -> Iterator[tuple[int, list[Value]]]:
    """Row number and columns of each cell of a leaf, as far as they make sense."""
    if page[start] != LEAF:
        return
    count = int.from_bytes(page[start + 3 : start + 5])
    for at in range(start + 8, min(start + 8 + 2 * count, PAGE - 1), 2):
        with suppress(IndexError, struct.error, UnicodeDecodeError):
            size, at_row = _varint(page, int.from_bytes(page[at : at + 2]))
            row, at_record = _varint(page, at_row)
            yield row, _columns(_record(page, at_record, size, pages))


def _record(page: bytes, at: int, size: int, pages: dict[int, bytes]) -> bytes:
    """The bytes of a record: what is on the page, and the rest from the chain of its overflow pages."""
    most = PAGE - 35
    if size <= most:
        return page[at : at + size]
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (size - least) % (PAGE - 4)
    local = local if local <= most else least
    parts, left = [page[at : at + local]], size - local
    following = int.from_bytes(page[at + local : at + local + 4])
    while left > 0 and following in pages:
        parts.append(pages[following][4 : 4 + min(left, PAGE - 4)])
        left -= PAGE - 4
        following = int.from_bytes(pages[following][:4])
    return b"".join(parts)


def _columns(record: bytes) -> list[Value]:
    end, at = _varint(record, 0)
    types = []
    while at < end:
        kind, at = _varint(record, at)
        types.append(kind)
    values = []
    for kind in types:
        value, at = _value(record, kind, at)
        values.append(value)
    return values


def _value(record: bytes, kind: int, at: int) -> tuple[Value, int]:
    if kind >= 12:
        content = record[at : at + (kind - 12) // 2]
        return content.decode() if kind % 2 else content, at + (kind - 12) // 2
    if kind == 7:
        return struct.unpack_from(">d", record, at)[0], at + 8
    if size := _INTEGERS.get(kind):
        return int.from_bytes(record[at : at + size], signed=True), at + size
    return {8: 0, 9: 1}.get(kind), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The integer, and where it ends."""
    value = 0
    for offset in range(8):
        byte = content[at + offset]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + offset + 1
    return value << 8 | content[at + 8], at + 9


def _take(found: Found, row: int, columns: list[Value]) -> None:
    """Keep the row if it is one of ours and whole; the number of its columns says of which table."""
    match columns:
        case [None, int(sealed), bytes(body)]:
            state = decode_state(sealed, body)
            if state and (found.state is None or state.commits >= found.state.commits):
                found.state = state
        case [None, int() | float() as born, int(sealed), bytes(payload)]:
            if sealed == seal(row, born, payload):
                found.rows[row] = float(born), payload
        case [None, int() | float() as born, int(sealed), bytes(payload), str(reason), int()]:
            if sealed == seal_dead(born, payload, reason):
                found.dead[float(born), payload] = reason
        case [
            None,
            int() | float() as born,
            int(sealed),
            bytes(payload),
            str(name),
            int() | float() as sure,
            int(),
        ]:
            held = Held(name, float(sure), payload)
            if sealed == seal_held(born, held):
                found.held[name] = float(born), held
