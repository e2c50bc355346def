"""Bookmarks: what is finished out of order is neither skipped nor repeated."""

import os
from itertools import islice
from pathlib import Path
from random import Random
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from edge_node import config
from edge_node.bookmark import OrderedBookmark, Replayable
from edge_node.sources import resume
from edge_node.sources.array import ArraySource
from edge_node.sources.directory import DirectorySource
from edge_node.sources.stdin import StdinSource
from tests.outboxes import box

PLACES = [(0, row) for row in range(20)]


@given(some.integers(0, 2**32))
def test_after_any_stop_exactly_the_unfinished_places_are_left(seed: int) -> None:
    dice = Random(seed)
    finished: set[tuple[int, int]] = set()
    saved = None
    for _ in range(4):
        bookmark = OrderedBookmark(saved)
        given_now = list(islice(bookmark.left(PLACES), dice.randint(0, 20)))
        assert not finished & set(given_now)
        done = dice.sample(given_now, dice.randint(0, len(given_now)))
        kept = dice.randint(0, len(done))
        bookmark.finish(done[:kept])
        finished |= set(done)
        saved = bookmark.dump(done[kept:])
    assert list(OrderedBookmark(saved).left(PLACES)) == [place for place in PLACES if place not in finished]


def test_a_long_past_takes_no_room() -> None:
    bookmark = OrderedBookmark()
    for place in bookmark.left((0, row) for row in range(10_000)):
        bookmark.finish([place])
    assert len(bookmark.dump()) < 50


def test_a_bookmark_that_is_none_means_the_beginning(caplog: pytest.LogCaptureFixture) -> None:
    assert OrderedBookmark(b"\xff\xff").at is None
    assert "from its beginning" in caplog.text


def array(folder: Path, **settings: bool) -> ArraySource:
    if not (folder / "rows.npy").exists():
        np.save(folder / "rows.npy", np.arange(6))
    return ArraySource(config.ArraySource(path=folder / "rows.npy", **settings))


def directory(folder: Path, **settings: bool) -> DirectorySource:
    if not (images := folder / "images").exists():
        images.mkdir()
        for name in ("a.png", "b.png", os.fsdecode(b"c\xe9.png"), "d.png", "e.png", "f.png"):
            (images / name).touch()
    return DirectorySource(config.DirectorySource(path=images, **settings))


@pytest.mark.parametrize("make", [array, directory])
def test_a_source_goes_on_where_its_results_were_committed(tmp_path: Path, make: type) -> None:
    whole = [sample.name for sample in make(tmp_path).samples(Event())]
    names = []
    for _ in range(3):
        source = make(tmp_path)
        with box(tmp_path / "box") as outbox:
            resume(source, outbox)
            for sample in islice(source.samples(Event()), 2):
                names.append(sample.name)
                outbox.put(1, place=sample.place)
    assert names == whole


@pytest.mark.parametrize("make", [array, directory])
def test_a_source_that_repeats_goes_on_in_its_round(tmp_path: Path, make: type) -> None:
    whole = [sample.name for sample in make(tmp_path).samples(Event())]
    names = []
    for _ in range(3):
        source = make(tmp_path, repeat=True)
        with box(tmp_path / "box") as outbox:
            resume(source, outbox)
            for sample in islice(source.samples(Event()), 4):
                names.append(sample.name)
                outbox.put(1, place=sample.place)
    assert names == whole * 2


def test_a_sample_without_a_committed_result_comes_again(tmp_path: Path) -> None:
    for taken in ("0", "0"):
        source = array(tmp_path)
        with box(tmp_path / "box") as outbox:
            resume(source, outbox)
            assert next(iter(source.samples(Event()))).name == taken


def test_when_all_was_answered_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        source = array(tmp_path)
        with box(tmp_path / "box") as outbox:
            resume(source, outbox)
            for sample in source.samples(Event()):
                outbox.put(1, place=sample.place)
    assert "every sample of the source was answered before" in caplog.text


def test_a_file_that_was_written_again_begins_anew(tmp_path: Path) -> None:
    first = array(tmp_path).key()
    np.save(tmp_path / "rows.npy", np.arange(7))
    assert array(tmp_path).key() != first


def test_only_a_source_that_can_be_replayed_has_a_bookmark(tmp_path: Path) -> None:
    assert isinstance(array(tmp_path), Replayable)
    assert isinstance(directory(tmp_path), Replayable)
    assert not isinstance(StdinSource(), Replayable)
