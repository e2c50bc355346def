"""The checked-in stubs are what the pinned generator makes of the contract."""

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import protos
from protos import generate

HERE = Path(protos.__file__).parent


def require_generator() -> None:
    try:
        found = version("grpcio-tools")
    except PackageNotFoundError:
        found = "none"
    if found != generate.GENERATOR:
        pytest.skip(f"needs grpcio-tools=={generate.GENERATOR}, found {found}")


def check(folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """``python -m protos.generate --check`` of the copy of ``protos`` in ``folder``."""
    command = [sys.executable, "-m", "protos.generate", "--check"]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(HERE, tmp_path / "protos")
    return tmp_path


def test_the_stubs_are_up_to_date() -> None:
    require_generator()
    assert generate.stale() == []


def test_check_accepts_the_stubs_as_they_are(copy: Path) -> None:
    require_generator()
    assert (check(copy).returncode, check(copy).stderr) == (0, "")


def test_check_names_a_stub_that_is_out_of_date(copy: Path) -> None:
    require_generator()
    contract = copy / "protos" / "inference.proto"
    contract.write_text(contract.read_text().replace("bool live = 1", "bool alive = 1"))
    outcome = check(copy)
    assert outcome.returncode == 1
    assert outcome.stderr.strip() == (
        "out of date: inference_pb2.py, inference_pb2.pyi; run python -m protos.generate"
    )


def test_another_generator_is_refused_with_the_one_to_install(copy: Path) -> None:
    metadata = copy / "grpcio_tools-9.9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: grpcio-tools\nVersion: 9.9.9\n")
    outcome = check(copy)
    assert outcome.returncode == 1
    assert (
        outcome.stderr.strip() == f"found grpcio-tools 9.9.9: pip install grpcio-tools=={generate.GENERATOR}"
    )
