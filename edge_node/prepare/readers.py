"""Samples in any form a user has: images in folders, arrays, CSV of sensor windows."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.prepare.data import Samples, stack
from edge_node.prepare.errors import DataError
from edge_node.prepare.progress import counted
from protos import image
from protos.artifact import ImageInput, TensorSpec
from protos.codec import DTYPES

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_LABEL_COLUMNS = ("class", "label")


@dataclass(frozen=True)
class Expected:
    """What the data have to become."""

    input: TensorSpec
    classes: int
    names: Sequence[str] | None = None
    """Of the classes, in the order of the logits; none: the user gave none."""
    crop: float = 1.0
    """Share of an image's shorter side that is used."""
    encoded: bool = False
    """Leave images as they were captured: bytes, as they travel."""


@dataclass(frozen=True)
class Found:
    """Samples, and what the way they came in says about the model."""

    samples: Samples
    names: Sequence[str] | None = None
    """Of the classes, where the data had to tell them."""
    image: ImageInput | None = None
    """How images were cut, if they were images."""


def read(path: Path, expected: Expected) -> Found:
    """``DataError`` says what in which file cannot be used.

    A folder of images, or of one sub-folder a class; a CSV of ``file,class``, relative to it; a CSV of
    one flattened window a row, with a column ``class`` or ``label`` if labelled; a ``.npy`` of samples;
    a ``.npz`` of ``samples`` and, if labelled, ``labels``.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        return _folder(path, expected)
    if path.suffix == ".csv":
        return _csv(path, expected)
    if path.suffix in (".npy", ".npz"):
        return Found(_arrays(path))
    raise DataError(f"{path}: give a folder of images, a .csv, a .npy or a .npz")


def _folder(path: Path, expected: Expected) -> Found:
    folders = sorted(it for it in path.iterdir() if it.is_dir() and _images(it))
    if not folders:
        return _decoded(path, _images(path), None, expected)
    files = [(file, folder.name) for folder in folders for file in _images(folder)]
    return _decoded(path, [file for file, _ in files], [name for _, name in files], expected)


def _images(folder: Path) -> list[Path]:
    return sorted(it for it in folder.iterdir() if it.suffix.lower() in SUFFIXES)


def _csv(path: Path, expected: Expected) -> Found:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise DataError(f"{path} is empty")
    if "file" in rows[0]:
        return _listed(path, rows, expected)
    return _windows(path, rows, expected)


def _listed(path: Path, rows: list[list[str]], expected: Expected) -> Found:
    """Images by their names, with their class if there is such a column."""
    table = [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
    files = [path.parent / row["file"] for row in table]
    column = next((name for name in _LABEL_COLUMNS if name in rows[0]), None)
    if column and (short := [number for number, row in enumerate(table) if not row.get(column)]):
        raise DataError(f"{path} line {short[0] + 2} has no {column}")
    return _decoded(path, files, [row[column] for row in table] if column else None, expected)


def _decoded(path: Path, files: list[Path], classes: list[str] | None, expected: Expected) -> Found:
    if not files:
        raise DataError(f"{path} holds no image ({', '.join(sorted(SUFFIXES))})")
    spec = _image_spec(expected)
    indices, names = _indices(path, classes, expected)
    if expected.encoded:
        inputs = np.array([_bytes(file) for file in files], dtype=object)
    else:
        inputs = stack([_decode(file, spec) for file in counted(files, "reading images")])
    return Found(Samples(inputs, indices), names, spec)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error


def _decode(file: Path, spec: ImageInput) -> NDArray[np.uint8]:
    try:
        return image.decode(file.read_bytes(), spec)
    except (OSError, image.ImageError) as error:
        raise DataError(f"{file}: {getattr(error, 'strerror', None) or error}") from error


def _image_spec(expected: Expected) -> ImageInput:
    given = expected.input
    if given.datatype == "UINT8" and len(given.shape) == 4 and given.shape[3] == 3:
        return ImageInput(size=given.shape[1], crop=expected.crop)
    raise DataError(
        f"an image is UINT8 (batch, height, width, 3), the model takes {given.datatype} {given.shape}: "
        "say with --mean and --std how pixels become its input, and they are built into the model"
    )


def _windows(path: Path, rows: list[list[str]], expected: Expected) -> Found:
    """One flattened window a row; the header, if there is one, may name a column of labels."""
    header = rows[0] if not all(_is_number(cell) for cell in rows[0]) else None
    at = next((header.index(name) for name in _LABEL_COLUMNS if header and name in header), None)
    body = rows[1:] if header else rows
    shape = expected.input.shape[1:]
    cells = [row[:at] + row[at + 1 :] if at is not None else row for row in body]
    values = [
        _window(path, number, row, expected.input)
        for number, row in enumerate(cells, len(rows) - len(body) + 1)
    ]
    indices, names = _indices(path, None if at is None else [row[at] for row in body], expected)
    return Found(Samples(np.stack(values).reshape(-1, *shape), indices), names)


def _window(path: Path, line: int, cells: list[str], spec: TensorSpec) -> NDArray[Any]:
    wanted = int(np.prod(spec.shape[1:]))
    if len(cells) != wanted:
        raise DataError(
            f"{path} row {line} has {len(cells)} values, a sample of {spec.shape[1:]} has {wanted}"
        )
    try:
        return np.array(cells).astype(DTYPES[spec.datatype])
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path} row {line}: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _indices(
    path: Path, classes: list[str] | None, expected: Expected
) -> tuple[NDArray[np.int64] | None, Sequence[str] | None]:
    """Class indices, and the classes' names where the data had to tell them."""
    if classes is None:
        return None, None
    if all(name.isdigit() for name in classes):
        return np.array([int(name) for name in classes]), None
    names = expected.names or sorted(set(classes))
    if len(names) != expected.classes:
        raise DataError(
            f"{path} has {len(names)} classes, the model {expected.classes}: "
            "give the names of all in the order of its logits with --labels"
        )
    index: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    if unknown := sorted(set(classes) - index.keys()):
        raise DataError(f"{path} has class {unknown[0]!r}, which --labels does not name")
    return np.array([index[name] for name in classes]), names


def _arrays(path: Path) -> Samples:
    try:
        with path.open("rb") as file:
            stored = np.load(file)
            found = {"samples": stored} if path.suffix == ".npy" else {name: stored[name] for name in stored}
    except Exception as error:  # numpy, zipfile and zlib each have errors of their own
        raise DataError(f"{path} is no readable {path.suffix} file: {error}") from error
    if "samples" not in found:
        raise DataError(f"{path} holds {', '.join(found) or 'nothing'}: call the array of inputs 'samples'")
    return Samples(found["samples"], found.get("labels"))
