"""The photo scenario: which photos, which labels, and how the gate is tuned on them."""

from pathlib import Path

import numpy as np
import pytest

from deploy.demo.errors import DemoError
from deploy.demo.photos import efficientnet
from deploy.demo.photos.build import OFFLOADED, artifacts, tune
from deploy.demo.photos.images import FEWEST, read_labels, split
from protos import image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 120 files that are called photos."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(120):
        (photos / f"{number:03}.jpg").write_bytes(b"no photo")
    (photos / "labels.csv").write_text("")
    return photos


def test_no_photo_tunes_and_is_shown(folder: Path) -> None:
    tuning, shown = split(folder)
    assert (len(tuning), len(shown)) == (40, 80)
    assert not set(tuning) & set(shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,class_index\n00.jpg,7\n01.jpg,999\n", {"00.jpg": 7, "01.jpg": 999}),
        ("ImageId,URL,TrueLabel\n00,-,8\n01,-,1000\n", {"00.jpg": 7, "01.jpg": 999}),
    ],
)
def test_labels_are_read_in_both_ways(tmp_path: Path, text: str, expected: dict[str, int]) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    assert read_labels(labels, [Path("00.jpg"), Path("01.jpg")]) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,class\n00.jpg,7\n", "needs columns file,class_index"),
        ("file,class_index\n00.jpg,cat\n", "needs columns file,class_index"),
        ("file,class_index\n00.jpg,1000\n", "needs columns file,class_index"),
        ("file,class_index\n01.jpg,7\n", "no class for 1 photos, such as 00.jpg"),
        ("", "no class for 1 photos"),
    ],
)
def test_labels_that_do_not_say_it_are_one_clear_line(tmp_path: Path, text: str, problem: str) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(DemoError, match=problem):
        read_labels(labels, [Path("00.jpg")])


def test_folders_that_are_no_use_are_one_clear_line(tmp_path: Path, folder: Path) -> None:
    for file in list(folder.glob("*.jpg"))[FEWEST - 1 :]:
        file.unlink()
    for images, problem in (
        (None, "give --images"),
        (tmp_path / "nowhere", "no such folder"),
        (folder, f"{FEWEST - 1} photos"),
    ):
        with pytest.raises(DemoError, match=problem):
            split(images)


def test_the_threshold_hands_on_the_share_it_should() -> None:
    logits = np.random.default_rng(1).normal(0, 2, (500, 10)).astype(np.float32)
    temperature, threshold = tune(logits, logits.argmax(1))
    shares = np.exp(logits / temperature)
    confidence = (shares / shares.sum(1, keepdims=True)).max(1)
    assert (confidence < threshold).mean() == pytest.approx(OFFLOADED, abs=0.01)


def test_the_temperature_undoes_overconfidence() -> None:
    """Classes drawn from softmax(logits): logits three times as large need a temperature of three."""
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (20_000, 5)).astype(np.float32)
    classes = (logits + random.gumbel(size=logits.shape)).argmax(1)
    assert tune(3 * logits, classes)[0] == pytest.approx(3.0, rel=0.05)


def test_a_file_that_is_no_photo_is_one_clear_line(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DemoError, match="cannot be read: neither a JPEG nor a PNG"):
        artifacts(tmp_path, split(folder).tuning, None, lambda _: None)


def test_a_missing_package_is_said_with_what_to_install(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet, "_NEEDED", ("numpy", "absent_package"))
    for file in folder.glob("*.jpg"):
        file.write_bytes(image.encode(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DemoError, match=r"with absent_package: run `pip install -e '.\[photos\]'`"):
        artifacts(tmp_path, split(folder).tuning, None, lambda _: None)
