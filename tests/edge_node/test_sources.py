"""Samples from files, in order and at their pace; a source that is not there is said at once."""

import os
import time
from itertools import islice
from pathlib import Path
from threading import Event, Timer
from typing import Any

import numpy as np
import pytest

from edge_node import config
from edge_node.errors import SampleError, SourceError
from edge_node.sources.array import ArraySource
from edge_node.sources.directory import DirectorySource

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path / "rows.npy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "c.txt", "d.jpeg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def array(path: Path, **settings: Any) -> ArraySource:
    return ArraySource(config.ArraySource(path=path, **settings))


def directory(path: Path, **settings: Any) -> DirectorySource:
    return DirectorySource(config.DirectorySource(path=path, **settings))


def test_an_array_gives_row_after_row_by_index(rows: Path) -> None:
    samples = list(array(rows).samples(Event()))
    assert [sample.name for sample in samples] == ["0", "1", "2", "3"]
    assert np.array_equal(np.stack([np.asarray(sample.data) for sample in samples]), ROWS)


def test_a_directory_gives_its_images_by_name(folder: Path) -> None:
    samples = list(directory(folder).samples(Event()))
    assert [(sample.name, sample.data) for sample in samples] == [
        ("a.png", b"a.png"),
        ("b.JPG", b"b.JPG"),
        ("d.jpeg", b"d.jpeg"),
    ]


@pytest.mark.parametrize("kind", ["array", "directory"])
def test_repeating_begins_again_at_the_end(rows: Path, folder: Path, kind: str) -> None:
    source = array(rows, repeat=True) if kind == "array" else directory(folder, repeat=True)
    once = 4 if kind == "array" else 3
    names = [sample.name for sample in islice(source.samples(Event()), 2 * once)]
    assert names[:once] == names[once:]


def test_a_file_that_vanishes_is_still_a_sample_with_its_error(folder: Path) -> None:
    source = directory(folder)
    (folder / "a.png").unlink()
    first, *others = source.samples(Event())
    assert isinstance(first.data, SampleError)
    assert str(first.data) == f"{folder / 'a.png'} cannot be read: no such file or directory"
    assert len(others) == 2


def test_a_folder_named_like_an_image_is_a_sample_with_its_error(folder: Path) -> None:
    (folder / "0.png").mkdir()
    first, *_ = directory(folder).samples(Event())
    assert "is a directory" in str(first.data)


def test_a_name_that_is_not_utf_8_becomes_one(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    (sample,) = directory(tmp_path).samples(Event())
    assert sample.name == "caf\N{REPLACEMENT CHARACTER}.png"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        (b"", "not a .npy file of numbers: "),
        (b"text", "not a .npy file of numbers: "),
        (b"PK\x03\x04", "not a .npy file of numbers: "),
    ],
    ids=["absent", "empty", "text", "zip"],
)
def test_a_file_that_holds_no_array_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "x.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        array(path)
    assert str(caught.value).startswith(f"source {path}: {problem}")


@pytest.mark.parametrize("empty", [np.zeros((0, 3)), np.float32(1)])
def test_an_array_without_samples_is_named(tmp_path: Path, empty: Any) -> None:
    np.save(tmp_path / "x.npy", empty)
    with pytest.raises(SourceError, match="holds no samples"):
        array(tmp_path / "x.npy")


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"not a \.npy file of numbers"):
        array(tmp_path / "x.npy")


def test_a_truncated_array_is_named(rows: Path) -> None:
    rows.write_bytes(rows.read_bytes()[:-1])
    with pytest.raises(SourceError, match=r"not a \.npy file of numbers"):
        array(rows)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent: no such file or directory$"):
        directory(tmp_path / "absent")


def test_a_directory_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no image \(\.jpeg, \.jpg, \.png\)"):
        directory(tmp_path)


def test_only_a_source_with_a_pace_of_its_own_is_live(rows: Path) -> None:
    assert array(rows, rate=1).live
    assert not array(rows).live


def test_a_rate_spreads_the_samples_over_time(rows: Path) -> None:
    start = time.monotonic()
    list(array(rows, rate=100).samples(Event()))
    assert time.monotonic() - start >= 0.03


def test_a_paced_sample_is_captured_at_its_moment(rows: Path) -> None:
    begun = time.monotonic()
    _, second, *_ = array(rows, rate=100).samples(Event())
    assert second.started - begun >= 0.01


def test_a_source_stops_before_the_next_sample(rows: Path) -> None:
    stop = Event()
    samples = array(rows, repeat=True).samples(stop)
    next(samples)
    stop.set()
    assert list(samples) == []


def test_a_source_that_waits_for_its_next_sample_stops_at_once(rows: Path) -> None:
    stop = Event()
    samples = array(rows, rate=0.001).samples(stop)
    next(samples)
    soon = Timer(0.02, stop.set)
    soon.start()
    assert list(samples) == []
    soon.join()
