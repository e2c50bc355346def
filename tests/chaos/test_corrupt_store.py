"""Bits that flip and files that end early: the outbox starts, keeps what it can, and says what was lost."""

import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from edge_node.outbox.files import DATABASE
from protos import result as contract
from tests.outboxes import Box, box

DAMAGES = 1000
ROWS = 300
A_PAGE = 16
"""Rows that one page may hold at most: a single bit may cost them all."""
LOG = DATABASE + "-wal"
Truth = dict[str, str | None]


@pytest.fixture
def image(tmp_path: Path) -> Iterator[tuple[Path, Truth]]:
    """An outbox as a killed node leaves it, half in the database and half in its log; what it held, by id."""
    with box(tmp_path / "life") as outbox:
        for _ in range(ROWS // 10):
            outbox.put(12)
            outbox.settle()
            outbox.confirm(outbox.floor() + 1)
        outbox.settle()
        truth = content(outbox)
        shutil.copytree(tmp_path / "life", tmp_path / "image", ignore=shutil.ignore_patterns("*-shm"))
        assert len(truth) == ROWS
        assert (tmp_path / "image" / LOG).stat().st_size > 100_000
        yield tmp_path / "image", truth


def content(outbox: Box) -> Truth:
    """What waits: the text of each result by its id."""
    results = [contract.decode(row.payload) for row in outbox.rows(-1, 10**9)]
    return {result.id: result.error for result in results}


def damage(folder: Path, dice: Random) -> str:
    """One bit flipped, or the end cut off, of the database or its log."""
    path = folder / dice.choice((DATABASE, LOG))
    if dice.random() < 0.2:
        with path.open("r+b") as file:
            file.truncate(dice.randrange(path.stat().st_size))
        return "truncation"
    with path.open("r+b") as file:
        at = dice.choice((dice.randrange(200), dice.randrange(path.stat().st_size)))
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))
    return "flip"


def test_a_damaged_outbox_starts_and_keeps_what_can_be_read(
    tmp_path: Path, image: tuple[Path, Truth], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    kinds: Counter[str] = Counter()
    for seed in range(DAMAGES):
        kind, dice = "", Random(seed)
        folder = tmp_path / "damaged"
        shutil.copytree(image[0], folder)
        kind = damage(folder, dice)
        with box(folder) as outbox:
            kept, lost = content(outbox), len(image[1]) - len(content(outbox))
            assert kept.items() <= image[1].items(), seed  # nothing that was never written, nothing twice
            assert lost <= A_PAGE or kind == "truncation", seed
            assert outbox.dropped("corrupt") == lost, seed
            outbox.put(1)  # and works
            outbox.settle()
            assert len(outbox.all()) == len(kept) + 1, seed
        kinds[f"{kind}: " + ("rebuilt" if outbox.recoveries() else "rows lost" if lost else "unharmed")] += 1
        shutil.rmtree(folder)
    print(dict(kinds))  # noqa: T201 - figures for whoever asks with -s
    assert kinds.total() == DAMAGES
    assert min(kinds["flip: rebuilt"], kinds["truncation: rebuilt"]) > DAMAGES / 50


def test_sqlite_alone_would_not(tmp_path: Path, image: tuple[Path, Truth]) -> None:
    fates = Counter(naive(tmp_path, image, seed) for seed in range(100))
    assert fates["refuses"] > 5
    assert fates["wrong, and says nothing"] > 5


def naive(tmp_path: Path, image: tuple[Path, Truth], seed: int) -> str:
    """What a plain reader makes of the same damage."""
    folder = tmp_path / "damaged"
    shutil.copytree(image[0], folder)
    damage(folder, Random(seed))
    try:
        with closing(sqlite3.connect(folder / DATABASE)) as database:
            payloads = [row[0] for row in database.execute("SELECT payload FROM result")]
        results = [contract.decode(payload) for payload in payloads]
    except (sqlite3.Error, ValueError):
        return "refuses"
    finally:
        shutil.rmtree(folder)
    return "whole" if {it.id: it.error for it in results} == image[1] else "wrong, and says nothing"
