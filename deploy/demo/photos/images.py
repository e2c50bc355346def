"""The user's photos: which there are, what they show, and which of them tune the models."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.demo.errors import DemoError
from deploy.demo.photos.efficientnet import CLASSES

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
FEWEST = 100
TUNING = (40, 200)
"""At least and at most so many photos choose int8 ranges, temperature and threshold."""


class Split(NamedTuple):
    """Photos by what they are for; none is in both."""

    tuning: list[Path]
    shown: list[Path]


def split(folder: Path | None) -> Split:
    """A fifth of the photos, evenly spread, for tuning, the others to be shown; DemoError for too few."""
    if folder is None:
        raise DemoError("the scenario photos needs a folder of JPEG files: give --images (make: IMAGES=dir)")
    if not folder.is_dir():
        raise DemoError(f"--images {folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(found) < FEWEST:
        raise DemoError(
            f"--images {folder}: {len(found)} photos ({', '.join(sorted(SUFFIXES))}); {FEWEST} are the least"
        )
    least, most = TUNING
    count = min(max(least, len(found) // 5), most)
    tuning = [found[len(found) * place // count] for place in range(count)]
    return Split(tuning, sorted(set(found) - set(tuning)))


def read_labels(file: Path, photos: Sequence[Path]) -> Mapping[str, int]:
    """Class, 0 to 999, by the name of the photo; DemoError for a file that does not say it of each.

    Columns `file,class_index`; or as in the NIPS 2017 adversarial set, `ImageId` (the stem of the
    name) and `TrueLabel` (counted from 1).
    """
    try:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        known = dict(_label(row) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DemoError(f"--labels {file}: {error}") from error
    except (KeyError, ValueError) as error:
        raise DemoError(
            f"--labels {file}: needs columns file,class_index (0 to {CLASSES - 1}) or ImageId,TrueLabel"
        ) from error
    missing = [photo.name for photo in photos if not {photo.name, photo.stem} & known.keys()]
    if missing:
        raise DemoError(f"--labels {file}: no class for {len(missing)} photos, such as {missing[0]}")
    return {photo.name: known.get(photo.name, known.get(photo.stem, -1)) for photo in photos}


def _label(row: Mapping[str, str]) -> tuple[str, int]:
    if "ImageId" in row:
        name, label = row["ImageId"], int(row["TrueLabel"]) - 1
    else:
        name, label = row["file"], int(row["class_index"])
    if not 0 <= label < CLASSES:
        raise ValueError(label)
    return name, label
