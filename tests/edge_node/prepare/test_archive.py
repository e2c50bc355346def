"""An artifact as one file."""

import zipfile
from pathlib import Path

import pytest

from edge_node.prepare.archive import archive, extract
from edge_node.prepare.errors import PrepareError
from tests.models import edge_artifact


def test_there_and_back(tmp_path: Path) -> None:
    made = edge_artifact(tmp_path / "made" / "edge")
    archive(made.directory, tmp_path / "edge.zip")
    back = extract(tmp_path / "edge.zip", tmp_path / "back" / "edge")
    assert back.manifest == made.manifest


def test_the_same_artifact_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        archive(edge_artifact(tmp_path / name / "edge").directory, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_what_is_no_sound_archive_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "not.zip").write_bytes(b"PK, almost")
    with pytest.raises(PrepareError, match=r"not.zip is no zip file"):
        extract(tmp_path / "not.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(PrepareError, match=r"other.zip: has no manifest.json"):
        extract(tmp_path / "other.zip", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["not.zip", "other.zip"]


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    archive(edge_artifact(tmp_path / "edge").directory, tmp_path / "edge.zip")
    with pytest.raises(PrepareError, match=r"exists already"):
        extract(tmp_path / "edge.zip", tmp_path / "edge")


def test_a_name_that_leads_out_of_the_folder_stays_inside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../escaped.txt", "x")
    with pytest.raises(PrepareError):
        extract(tmp_path / "evil.zip", tmp_path / "out" / "inner")
    assert not list(tmp_path.rglob("escaped.txt"))
