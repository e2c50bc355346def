"""``edge-node outbox``: what waits on this device, and what was given up."""

import argparse
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from edge_node import config
from edge_node.errors import NodeError, OutboxError
from edge_node.outbox.change import DeadLetter
from edge_node.outbox.clock import Lifetime
from edge_node.outbox.files import DATABASE, HEARD, folder, locked
from edge_node.outbox.format import State, decode_state, encode_state


def main(options: argparse.Namespace) -> None:
    """Do it, beside a running node or without one; ``NodeError`` says what stands in the way."""
    settings = config.load(options.config)
    where = folder(settings)
    if not (where / DATABASE).exists():
        print(f"outbox {where}: nothing was ever kept here")
        return
    try:
        with _opened(where) as database:
            _ACTIONS[options.action](database, where, options.numbers)
    except sqlite3.Error as error:
        raise OutboxError(where, f"cannot be read: {error}; the node mends it when it starts") from error


@contextmanager
def _opened(where: Path) -> Iterator[sqlite3.Connection]:
    if not os.access(where / DATABASE, os.W_OK):
        raise OutboxError(where, "permission denied: run this as the user of the node")
    with closing(sqlite3.connect(where / DATABASE, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = FULL")
        yield database


def _show(database: sqlite3.Connection, where: Path, numbers: Sequence[int]) -> None:
    now = Lifetime(_state(database, where).moment).now().seconds
    count, size, born = database.execute(
        "SELECT count(*), total(length(payload)), min(born) FROM result"
    ).fetchone()
    inputs, input_bytes = database.execute("SELECT count(*), total(size) FROM held").fetchone()
    print(f"outbox {where}")
    print(
        f"waiting       {_amount(count, 'result', size)}{f', the oldest {_age(now - born)}' if count else ''}"
    )
    print(f"results sink  {'heard: its word ends the wait' if (where / HEARD).exists() else 'never heard'}")
    print(f"held inputs   {_amount(inputs, 'input', input_bytes)}")
    letters = [letter for letter in _dead(database) if not numbers or letter.number in numbers]
    print(f"dead letters  {_amount(len(letters), 'result', sum(len(letter.payload) for letter in letters))}")
    for letter in letters:
        again = " (to be sent again from the next start on)" if letter.retry else ""
        print(f"{letter.number:>7}  {_name(letter)}  {_age(now - letter.born)}  {letter.reason}{again}")


def _retry(database: sqlite3.Connection, where: Path, numbers: Sequence[int]) -> None:
    chosen = _chosen(database, where, numbers)
    database.executemany("UPDATE dead SET retry = 1 WHERE n = ?", chosen)
    print(f"{_counted(len(chosen), 'dead letter')} will be sent again from the next start of the node on")


def _purge(database: sqlite3.Connection, where: Path, numbers: Sequence[int]) -> None:
    chosen = _chosen(database, where, numbers)
    database.executemany("DELETE FROM dead WHERE n = ?", chosen)
    print(f"{_counted(len(chosen), 'dead letter')} deleted")


def _rewind(database: sqlite3.Connection, where: Path, numbers: Sequence[int]) -> None:
    if numbers:
        raise NodeError("rewind takes no numbers: it is about the source")
    with locked(where):
        state = msgspec.structs.replace(_state(database, where), bookmarks={})
        database.execute("UPDATE state SET seal = ?, body = ?", encode_state(state))
    print("the source is read from its beginning at the next start of the node")


_ACTIONS = {"show": _show, "retry": _retry, "purge": _purge, "rewind": _rewind}


def _state(database: sqlite3.Connection, where: Path) -> State:
    row = database.execute("SELECT seal, body FROM state").fetchone()
    state = decode_state(*row) if row else None
    if state is None:
        raise OutboxError(where, "is damaged; the node mends it when it starts")
    return state


def _dead(database: sqlite3.Connection) -> list[DeadLetter]:
    found = database.execute("SELECT n, reason, born, retry, payload FROM dead ORDER BY n")
    return [DeadLetter(n, reason, born, bool(retry), payload) for n, reason, born, retry, payload in found]


def _chosen(database: sqlite3.Connection, where: Path, numbers: Sequence[int]) -> list[tuple[int]]:
    """The dead letters of these numbers, or all."""
    there = {letter.number for letter in _dead(database)}
    if unknown := sorted(set(numbers) - there):
        raise OutboxError(where, f"holds no dead letter {', '.join(map(str, unknown))}")
    return [(number,) for number in sorted(set(numbers) or there)]


def _name(letter: DeadLetter) -> str:
    """The result's id, where the letter is one."""
    try:
        return str(msgspec.json.decode(letter.payload)["id"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "?"


def _amount(count: int, what: str, size: float) -> str:
    return f"{_counted(count, what)}, {size / 1e3:,.1f} kB"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _age(seconds: float) -> str:
    """In the largest unit of which there is one: ``3.2 h``."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(0.0, seconds):.1f} s"
