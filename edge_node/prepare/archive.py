"""An artifact as one file: a zip whose bytes depend on nothing but the artifact's."""

import tempfile
import zipfile
from pathlib import Path

from edge_node.prepare.errors import PrepareError
from protos import artifact as contract
from protos.artifact import Artifact, ArtifactError

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


def archive(directory: Path, target: Path) -> None:
    """Write the artifact as ``target``, whole or not at all."""
    contract.load(directory)
    names = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        draft = Path(scratch) / target.name
        with zipfile.ZipFile(draft, "w") as file:
            for name in names:
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = _MODE
                file.writestr(entry, (directory / name).read_bytes())
        draft.replace(target)


def extract(source: Path, directory: Path) -> Artifact:
    """Unpack and verify an archived artifact; ``directory`` must not exist yet."""
    if directory.exists():
        raise PrepareError(f"{directory} exists already; choose another or remove it")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
        folder = Path(scratch) / directory.name
        try:
            with zipfile.ZipFile(source) as file:
                file.extractall(folder)
        except zipfile.BadZipFile as error:
            raise PrepareError(f"{source} is no zip file: {error}") from error
        try:
            contract.load(folder)
        except ArtifactError as error:
            raise PrepareError(f"{source}: {error.problem}") from error
        folder.rename(directory)
    return contract.load(directory)
