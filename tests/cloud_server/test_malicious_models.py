"""Model files that mean harm are refused, each with its reason, and the process that was asked lives on."""

import os
import re
import resource
import shutil
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cloud_server.config import CloudConfig, Loading, Model
from cloud_server.errors import ModelError
from cloud_server.inference import loading, sandbox
from cloud_server.inference.sandbox import try_out
from cloud_server.inference.scanning import scan
from cloud_server.inference.session import SAFE, open_session, require
from protos import artifact
from tests.cloud_server import hostile_models as hostile
from tests.cloud_server.test_loading import repack, rewrite
from tests.models import cloud_artifact, linear

SMALL = Loading(memory=512, deadline=20)
SECRET = b"\0\0\x80?"
"""What no model may read: 1.0, as a weight it would do."""
Build = Callable[[Path], Path]
READING = pytest.mark.parametrize("build", [hostile.reading, hostile.reading_deep, hostile.reading_sparse])


def refusal(path: Path, limits: Loading = SMALL) -> str:
    """The one line."""
    with pytest.raises(ModelError) as caught:
        loading.open_model(path, settings=CloudConfig(loading=limits))
    (line,) = str(caught.value).splitlines()
    return line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a model, beside secrets: in a file, a symbolic link and a hard link to it."""
    (tmp_path / "secret").write_bytes(SECRET)
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "symlink").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "secret", folder / "hardlink")
    (folder / "beside").write_bytes(SECRET)
    return folder


@READING
@pytest.mark.parametrize(
    "location", ["{}/secret", "../secret", "a/../../secret", "symlink", "hardlink", "beside", "/dev/zero", ""]
)
def test_weights_in_other_files(folder: Path, build: Callable[[Path, str], Path], location: str) -> None:
    location = location.format(folder.parent)
    path = build(folder / "model.onnx", location)
    with pytest.raises(ModelError, match=f"tensor 'w' has its data in another file, '{location}': only an"):
        scan(path)


def test_the_trial_scans(folder: Path) -> None:
    path = hostile.reading(folder / "model.onnx", "../secret")
    assert refusal(path).startswith(f"model {path}: tensor 'w' has its data in another file, '../secret'")


@READING
def test_onnxruntime_would_have_read_a_file_beside_the_model(
    folder: Path, build: Callable[[Path, str], Path]
) -> None:
    path = build(folder / "model.onnx", "beside")
    assert open_session(path).get_inputs()[0].name == "x"


@READING
@pytest.mark.parametrize("location", ["{}/secret", "../secret", "symlink"])
def test_onnxruntime_from_our_floor_on_refuses_them_by_itself(
    folder: Path, build: Callable[[Path, str], Path], location: str
) -> None:
    path = build(folder / "model.onnx", location.format(folder.parent))
    with pytest.raises(ModelError, match="is no ONNX model that can run here"):
        open_session(path)


@pytest.mark.parametrize(("version", "safe"), [("1.26.0", False), ("1.27.0", True), ("1.100.1", True)])
def test_an_onnxruntime_that_would_not_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str, *, safe: bool
) -> None:
    """One with other providers may stand in for the one that our packages ask for."""
    monkeypatch.setattr(onnxruntime, "__version__", version)
    require(["cpu"])
    assert [f"onnxruntime {version} would read files" in it for it in caplog.messages] == [True] * (not safe)


def test_our_packages_ask_for_one_that_refuses() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    floor = ".".join(map(str, SAFE))
    for extra in ("edge", "cloud"):
        assert f"onnxruntime>={floor}" in project["optional-dependencies"][extra]


def test_what_its_operator_names_may_be_a_link_but_what_it_reads_may_not_be_elsewhere(tmp_path: Path) -> None:
    there, directory = linear(tmp_path / "there" / "there.onnx"), cloud_artifact(tmp_path / "cloud").directory
    (tmp_path / "here.onnx").symlink_to(there)
    (tmp_path / "here").symlink_to(directory)
    settings = CloudConfig(loading=SMALL)
    assert loading.open_model(tmp_path / "here.onnx", settings=settings).card.name == "here"
    assert loading.open_model(tmp_path / "here", settings=settings).card.name == "cloud"
    (tmp_path / "there" / "weights").write_bytes(SECRET)
    for location in ("weights", "there/weights", "../there/weights"):
        hostile.reading(there, location)
        assert f"has its data in another file, '{location}'" in refusal(tmp_path / "here.onnx")


def test_an_artifact_may_keep_weights_in_a_file_that_its_manifest_lists(tmp_path: Path) -> None:
    source = cloud_artifact(tmp_path / "cloud")
    model = onnx.load(source.model)
    source.model.unlink()
    onnx.save(model, source.model, save_as_external_data=True, location="weights", size_threshold=0)
    repack(source.directory, artifact.MODEL)
    assert "'weights': only an artifact may" in refusal(source.directory)
    files = {**source.manifest.files, artifact.MODEL: artifact.digest(source.model)}
    rewrite(source.directory, files=files | {"weights": artifact.digest(source.directory / "weights")})
    assert loading.open_model(source.directory, settings=CloudConfig(loading=SMALL)).card.name == "cloud"


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (hostile.foreign, "needs the operator 'Run' of 'evil.example'"),
        (hostile.foreign_in_function, "needs the operator 'Run' of 'evil.example'"),
        (hostile.precompiled, "needs the operator 'EPContext', which reads files"),
        (hostile.nested, "is no ONNX model that can run here: truncated, nested too deep"),
    ],
)
def test_what_a_scan_refuses(tmp_path: Path, build: Build, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        scan(build(tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (hostile.bomb, "takes more memory to run once than it may"),
        (partial(hostile.bomb, gigabytes=2), "takes more memory to run once than it may"),
        (hostile.bomb_at_run, "takes more memory to run once than it may"),
        (partial(hostile.bomb_at_run, gigabytes=2), "takes more memory to run once than it may"),
        (hostile.doubling, "takes more memory to run once than it may"),
        (hostile.declared, "is no ONNX model that can run here: .* declares a size of 4398046511104 bytes"),
        (hostile.recursive, "is no ONNX model that can run here: .* must not be recursive"),
    ],
)
def test_what_a_trial_refuses(tmp_path: Path, build: Build, reason: str) -> None:
    path = build(tmp_path / "model.onnx")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=rf"^model {path}: {reason}"):
        loading.open_model(path, settings=CloudConfig(loading=SMALL))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "KiB"


@pytest.mark.parametrize("build", hostile.BOMBS[5:12], ids=lambda build: build.__name__)
def test_more_bombs(tmp_path: Path, build: Build) -> None:
    path = build(tmp_path / "model.onnx")
    assert path.stat().st_size < 1000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert re.search("takes more memory|dense data size of 274877906944 bytes", refusal(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "KiB"


def test_a_bomb_among_the_golden_vectors(tmp_path: Path) -> None:
    """A compressed array of zeros: a thousand times smaller than what it unfolds to."""
    directory = cloud_artifact(tmp_path / "cloud").directory
    np.savez_compressed(
        directory / artifact.VECTORS, inputs=np.zeros((1 << 28, 3), np.float32), logits=np.zeros(1)
    )
    repack(directory, artifact.VECTORS)
    assert "vectors.npz cannot be read: Unable to allocate" in refusal(directory)


def test_a_smaller_bomb_is_a_model_that_takes_memory(tmp_path: Path) -> None:
    """The limit is what refuses: the same file runs where it has room."""
    path = hostile.bomb(tmp_path / "model.onnx", gigabytes=0.25)
    assert "takes more memory to run once" in refusal(path, Loading(memory=128))
    assert try_out(path, Loading(memory=4096))


def test_a_loop_without_end(tmp_path: Path) -> None:
    path = hostile.endless(tmp_path / "model.onnx")
    assert refusal(path, Loading(deadline=2)) == (
        f"model {path}: did not load and run within 2 s ([loading] deadline)"
    )


def test_a_trial_that_was_begun_early_is_the_one_that_counts(tmp_path: Path) -> None:
    settings = CloudConfig(models=(Model(path=linear(tmp_path / "model.onnx")),))
    (path,) = (model.path for model in settings.models)
    before = children()
    with sandbox.early(settings):
        assert len(children() - before) == 1
        assert try_out(path, settings.loading) == artifact.digest(path)
        assert children() <= before


def test_a_trial_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    settings = CloudConfig(models=(Model(path=hostile.endless(tmp_path / "model.onnx")),))
    before = children()
    with sandbox.early(settings):
        assert len(children() - before) == 1
    assert children() <= before


def children() -> set[str]:
    """Process numbers: not told apart by command line, which is empty for a moment after its start."""
    return set(Path("/proc/thread-self/children").read_text().split())


def test_every_truncation(tmp_path: Path) -> None:
    """Whatever a scan lets through is still tried: what is left is a model or a reason, never a crash."""
    content = linear(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    refused = 0
    for size in range(len(content)):
        path.write_bytes(content[:size])
        try:
            loading.load_model(path)
        except ModelError:
            refused += 1
    assert refused > len(content) * 0.9


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    for path in (tmp_path / "model.onnx", Path("/dev/zero")):
        assert refusal(path) == f"model {path}: is neither a file nor a folder"


def test_a_model_with_functions_of_its_own_is_served(tmp_path: Path) -> None:
    path = hostile.own_function(tmp_path / "model.onnx")
    assert loading.open_model(path, settings=CloudConfig(loading=SMALL)).card.name == "model"


def test_a_crash_of_the_trial_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that dies stands for a fault in onnxruntime that nobody knows yet."""
    dying = tmp_path / "python"
    dying.write_text(f"#!{shutil.which('sh')}\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    assert refusal(linear(tmp_path / "model.onnx")).endswith("its trial crashed: SIGSEGV")


def test_code_in_the_working_directory_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit('ours now')")
    monkeypatch.chdir(tmp_path)
    assert try_out(linear(tmp_path / "model.onnx"), SMALL)
