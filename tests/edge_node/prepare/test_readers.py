"""Every form of samples a user has, and one line for each way it can be wrong."""

from pathlib import Path

import numpy as np
import pytest

from edge_node.prepare.errors import DataError
from edge_node.prepare.readers import Expected, Found, read
from protos import image
from protos.artifact import ImageInput, TensorSpec

WINDOW = Expected(TensorSpec(name="x", datatype="FP32", shape=(-1, 2, 3)), classes=2)
PIXELS = Expected(TensorSpec(name="x", datatype="UINT8", shape=(-1, 4, 4, 3)), classes=2)


def photo(path: Path, shade: int) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(image.encode(np.full((8, 8, 3), shade, np.uint8)))
    return path


def labels(found: Found) -> list[int]:
    return [int(label) for label in np.asarray(found.samples.labels)]


def test_a_folder_of_images(tmp_path: Path) -> None:
    for shade in (9, 5):
        photo(tmp_path / f"{shade}.png", shade)
    found = read(tmp_path, PIXELS)
    assert found.samples.inputs[:, 0, 0, 0].tolist() == [5, 9]
    assert (found.samples.labels, found.image) == (None, ImageInput(size=4))


def test_a_folder_of_one_folder_a_class(tmp_path: Path) -> None:
    for name, shade in (("dog", 1), ("cat", 2), ("cat", 3)):
        photo(tmp_path / name / f"{shade}.png", shade)
    found = read(tmp_path, PIXELS)
    assert (found.names, labels(found)) == (["cat", "dog"], [0, 0, 1])
    given = Expected(PIXELS.input, 3, ["dog", "bird", "cat"])
    assert labels(read(tmp_path, given)) == [2, 2, 0]


@pytest.mark.parametrize(("classes", "expected"), [(("1", "0"), [1, 0]), (("dog", "cat"), [1, 0])])
def test_a_csv_of_images(tmp_path: Path, classes: tuple[str, str], expected: list[int]) -> None:
    for number, name in enumerate(classes):
        photo(tmp_path / "images" / f"{number}.png", number)
        with (tmp_path / "list.csv").open("a") as file:
            file.write("file,class\n" if number == 0 else "")
            file.write(f"images/{number}.png,{name}\n")
    assert labels(read(tmp_path / "list.csv", PIXELS)) == expected


@pytest.mark.parametrize("header", ["", "label,a,b,c,d,e,f\n"])
def test_a_csv_of_windows(tmp_path: Path, header: str) -> None:
    rows = [f"{'1,' if header else ''}{start},1,2,3,4,5" for start in (0, 7)]
    (tmp_path / "windows.csv").write_text(header + "\n".join(rows))
    found = read(tmp_path / "windows.csv", WINDOW)
    assert found.samples.inputs.shape == (2, 2, 3)
    assert found.samples.inputs[1, 0].tolist() == [7, 1, 2]
    assert found.samples.labels is None or labels(found) == [1, 1]
    assert (found.samples.labels is None) == (header == "")


def test_arrays(tmp_path: Path) -> None:
    rows = np.zeros((5, 2, 3))
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "rows.npz", samples=rows, labels=np.arange(5))
    assert read(tmp_path / "rows.npy", WINDOW).samples.labels is None
    assert labels(read(tmp_path / "rows.npz", WINDOW)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("absent.npy", None, "absent.npy: no such file or folder"),
        ("model.txt", b"", "model.txt: give a folder of images, a .csv, a .npy or a .npz"),
        ("bad.npy", b"nothing", "bad.npy is no readable .npy file"),
        ("bad.npz", b"PK\3\4", "bad.npz is no readable .npz file"),
        ("empty.csv", b"", "empty.csv is empty"),
        (
            "ragged.csv",
            b"1,2,3,4,5,6\n1,2,3,4,5\n",
            "ragged.csv row 2 has 5 values, a sample of .2, 3. has 6",
        ),
        ("words.csv", b"1,2,3,4,5,6\n1,2,3,4,5,six\n", "words.csv row 2: could not convert"),
        (
            "three.csv",
            b"label,a,b,c,d,e,f\nx,1,2,3,4,5,6\n",
            "three.csv has 1 classes, the model 2: give the names",
        ),
        ("list.csv", b"file,class\na.png,0\n", "the model takes FP32 .* say with --mean and --std"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem) as refused:
        read(tmp_path / name, WINDOW)
    assert "\n" not in str(refused.value)


def test_images_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        read(tmp_path, PIXELS)
    (tmp_path / "list.csv").write_text("file,class\nabsent.png,0\n")
    with pytest.raises(DataError, match=r"absent\.png: No such file"):
        read(tmp_path / "list.csv", PIXELS)
    (tmp_path / "list.csv").write_text("file,class\nphoto.png,\n")
    with pytest.raises(DataError, match=r"list\.csv line 2 has no class"):
        read(tmp_path / "list.csv", PIXELS)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8broken")
    with pytest.raises(DataError, match=r"broken\.jpg: "):
        read(tmp_path, PIXELS)


def test_a_class_that_is_not_named(tmp_path: Path) -> None:
    photo(tmp_path / "cat" / "1.png", 1)
    with pytest.raises(DataError, match="has class 'cat', which --labels does not name"):
        read(tmp_path, Expected(PIXELS.input, 2, ["dog", "bird"]))
