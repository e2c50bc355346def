"""Models in a folder: ``NAME/VERSION/``, as Triton and OpenVINO Model Server have it, VERSION a number."""

import re
from pathlib import Path

from cloud_server.config import Repository
from cloud_server.errors import ModelError
from protos import artifact

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

Versions = dict[int, Path]
"""Highest first."""


def find(folder: Path) -> dict[str, Versions]:
    """Every model that has a version; ``ModelError`` if there is none, or no folder."""
    try:
        found = {name.name: _versions(name) for name in sorted(folder.iterdir()) if _is(name, _NAME)}
    except OSError as error:
        raise ModelError(folder, f"cannot be read: {error.strerror}".lower()) from None
    models = {name: versions for name, versions in found.items() if versions}
    if not models:
        raise ModelError(folder, "holds no NAME/VERSION/ of a model, such as resnet/1/")
    return models


def wanted(settings: Repository, name: str, versions: Versions) -> Versions:
    """What may be served, highest first; of what is pinned also that which is not there."""
    if name not in settings.pinned:
        return versions
    return {
        number: settings.path / name / str(number) for number in sorted(settings.pinned[name], reverse=True)
    }


def model_in(version: Path) -> Path:
    """What is loaded: the folder itself if it is an artifact, else the ONNX file in it."""
    return version if (version / artifact.MANIFEST).exists() else version / artifact.MODEL


def require_inside(folder: Path, version: Path) -> None:
    """``ModelError`` if a link would have something loaded that lies outside the folder of models."""
    root = folder.resolve()
    for path in (version, version / artifact.MANIFEST, version / artifact.MODEL):
        if not path.resolve().is_relative_to(root):
            raise ModelError(
                version,
                f"{path.relative_to(folder)} leads out of the repository by a link: put what it leads to "
                "inside",
            )


def stamp(version: Path) -> frozenset[tuple[str, int, int]]:
    """Another one when a file in the folder is another one; ``ModelError`` if it cannot be read."""
    try:
        stats = {path.name: path.stat() for path in version.iterdir()}
    except OSError as error:
        raise ModelError(version, f"cannot be read: {error.strerror}".lower()) from None
    return frozenset((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items())


def _versions(folder: Path) -> Versions:
    numbers = sorted((int(path.name) for path in folder.iterdir() if _is(path, _VERSION)), reverse=True)
    return {number: folder / str(number) for number in numbers}


def _is(path: Path, pattern: re.Pattern[str]) -> bool:
    return pattern.fullmatch(path.name) is not None and path.is_dir()
