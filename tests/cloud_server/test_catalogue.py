"""Versions in a folder: which are served, and that calls notice nothing of a change but its answers."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cloud_server import config
from cloud_server.config import CloudConfig
from cloud_server.errors import ModelError
from cloud_server.inference import loading, sandbox
from cloud_server.inference.absent import absent
from cloud_server.inference.catalogue import Catalogue
from deploy.demo.processes import wait_until
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server import hostile_models as hostile
from tests.cloud_server.conftest import Serve
from tests.cloud_server.process import PATIENCE, finished, started
from tests.models import cloud_artifact, linear

ONE = np.array([[1, 0, 0]], np.float32)
SWAPS = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models: ``net`` in versions 1, 2 and 10, each scales by its number; and ``cloud``."""
    folder = tmp_path / "models"
    for version in (1, 2, 10):
        add(folder, version)
    cloud_artifact(folder / "cloud" / "1")
    (folder / "cloud" / "cloud.onnx").unlink(missing_ok=True)
    return folder


def add(folder: Path, version: int) -> Path:
    """Another version of ``net``, moved there as a whole."""
    making = folder.parent / "making"
    linear(making / "model.onnx", scale=version)
    (folder / "net").mkdir(parents=True, exist_ok=True)
    return making.rename(folder / "net" / str(version))


def spoil(folder: Path, version: int, build: Callable[[Path], Path] = hostile.foreign) -> None:
    """Another version of ``net`` that means harm."""
    (folder / "net" / str(version)).mkdir(exist_ok=True)
    build(folder / "net" / str(version) / "model.onnx")


def catalogue(folder: Path, **settings: Any) -> Catalogue:
    limits = config.Loading(memory=512, deadline=20)
    repository = config.Repository(path=folder, **settings)
    return loading.load(CloudConfig(repository=repository, loading=limits))


def served(catalogue: Catalogue) -> set[tuple[str, str]]:
    return {(model.card.name, model.card.version) for model in catalogue.repository}


@contextmanager
def client(serve: Serve, folder: Path, **flags: object) -> Iterator[Any]:
    """Stub of a server of this folder; ``control`` is on."""
    flags = {"repository.path": str(folder), "repository.control": True, "loading.memory": 512, **flags}
    with serve(**flags) as running, grpc.insecure_channel(running.address) as channel:
        yield GRPCInferenceServiceStub(channel)


def answer(stub: Any, version: str = "") -> float:
    """Which version answers: the factor it scales by."""
    request = codec.request("net", {"x": ONE})
    request.model_version = version
    return float(codec.response_tensors(stub.ModelInfer(request))["logits"][0, 0])


def load(stub: Any, name: str = "net") -> None:
    stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name))


def unload(stub: Any, name: str = "net") -> None:
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name))


@pytest.mark.parametrize(
    ("settings", "versions"),
    [
        ({}, ["10"]),
        ({"versions": "all"}, ["1", "2", "10"]),
        ({"pinned": {"net": (2, 1)}}, ["1", "2"]),
        ({"pinned": {"other": (1,)}}, ["10"]),
    ],
)
def test_policies(folder: Path, settings: dict[str, Any], versions: list[str]) -> None:
    found = catalogue(folder, **settings).repository
    assert list(found.versions("net")) == versions
    assert found.get("net").card.version == versions[-1]
    assert found.get("cloud").card.precision == "fp32"


def test_the_latest_is_the_highest_that_loads(folder: Path) -> None:
    spoil(folder, 11)
    found = catalogue(folder)
    assert served(found) == {("net", "10"), ("cloud", "1")}
    (failed,) = [entry for entry in found.index() if entry.reason]
    assert (failed.name, failed.version) == ("net", "11")
    assert failed.reason.startswith("needs the operator 'Run' of 'evil.example'")


def test_a_pinned_version_that_is_not_there(folder: Path) -> None:
    found = catalogue(folder, pinned={"net": (2, 7)})
    assert served(found) == {("net", "2"), ("cloud", "1")}
    assert [entry.reason for entry in found.index() if entry.version == "7"] == [
        "cannot be read: no such file or directory"
    ]


def test_a_name_that_no_model_has_is_told_from_that_of_one_that_cannot_be_served(folder: Path) -> None:
    """Said once, however many callers it is meant for; ``*`` is no name."""
    hostile.foreign(folder / "bad" / "1" / "model.onnx")
    access = config.Access(models={"cam-1": ("bad", "cluod"), "cam-2": ("net", "cluod"), "*": ("*",)})
    assert list(absent(CloudConfig(access=access), catalogue(folder))) == [
        "access.models names 'cluod', and no such model is here: is 'cloud' meant?"
    ]


def test_a_folder_without_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: no such file"):
        catalogue(tmp_path / "absent")
    with pytest.raises(ModelError, match="holds no NAME/VERSION/ of a model"):
        catalogue(tmp_path)


def test_looking_again_loads_only_what_has_changed(folder: Path) -> None:
    found = catalogue(folder)
    before = {model.card.name: model for model in found.repository}
    linear(folder / "net" / "10" / "model.onnx", scale=3)
    found.look()
    assert found.repository.get("cloud") is before["cloud"]
    assert found.repository.get("net") is not before["net"]


def test_a_folder_that_is_gone_takes_nothing_along(folder: Path) -> None:
    """As a volume that is not mounted any more."""
    found = catalogue(folder)
    folder.rename(folder.with_name("elsewhere"))
    found.look()
    folder.mkdir()
    found.look()
    assert served(found) == {("net", "10"), ("cloud", "1")}


def test_a_model_that_is_gone_goes(folder: Path) -> None:
    found = catalogue(folder)
    (folder / "net").rename(folder.with_name("net"))
    found.look()
    assert served(found) == {("cloud", "1")}


def test_versions_are_asked_for_by_number(serve: Serve, folder: Path) -> None:
    with client(serve, folder, **{"repository.versions": "all"}) as stub:
        assert [answer(stub, version) for version in ("", "1", "2", "10")] == [10, 1, 2, 10]
        assert list(stub.ModelMetadata(pb.ModelMetadataRequest(name="net")).versions) == ["1", "2", "10"]
        with pytest.raises(grpc.RpcError, match=r"model 'net' has versions \['1', '2', '10'\], not '3'"):
            answer(stub, "3")


def more(answers: list[float], than: int) -> bool:
    return len(answers) > than


def reached(answers: list[float], version: int) -> bool:
    return answers[-1:] == [version]


def swap(stub: Any, folder: Path, change: Callable[[], None]) -> tuple[int, set[float], list[grpc.RpcError]]:
    """Calls, answers and failures while ``change`` is made ``SWAPS`` times, each to a version of its own."""
    with asking(stub) as (answers, failures):
        for version in range(11, 11 + SWAPS):
            add(folder, version)
            change()
            wait_until(partial(reached, answers, version), PATIENCE)
    return len(answers), set(answers), failures


@contextmanager
def asking(stub: Any) -> Iterator[tuple[list[float], list[grpc.RpcError]]]:
    """Four callers who ask without a pause; their answers and failures."""
    done, answers, failures = Event(), list[float](), list[grpc.RpcError]()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(answer(stub))
            except grpc.RpcError as error:
                failures.append(error)

    with ThreadPoolExecutor(4) as pool:
        askers = [pool.submit(ask) for _ in range(4)]
        try:
            yield answers, failures
        finally:
            done.set()
        for asker in askers:
            asker.result()


def test_twenty_swaps_under_load_fail_no_call(serve: Serve, folder: Path) -> None:
    with client(serve, folder) as stub:
        calls, answers, failures = swap(stub, folder, lambda: load(stub))
    assert failures == []
    assert calls > SWAPS
    assert answers <= {10.0, *map(float, range(11, 11 + SWAPS))}


def test_swaps_with_a_gap_would_fail_calls(serve: Serve, folder: Path) -> None:
    def change() -> None:
        unload(stub)
        load(stub)

    with client(serve, folder) as stub:
        _, _, failures = swap(stub, folder, change)
    assert {error.code() for error in failures} == {grpc.StatusCode.NOT_FOUND}


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda path: hostile.reading(path, "../10/model.onnx"), "has its data in another file"),
        (hostile.foreign, "no custom operators are loaded"),
        (hostile.bomb, "takes more memory"),
        (hostile.doubling, "takes more memory"),
        (hostile.nested, "truncated, nested too deep"),
    ],
)
def test_a_failed_load_says_why_and_the_old_model_serves(
    serve: Serve, folder: Path, build: Callable[[Path], Path], reason: str
) -> None:
    with client(serve, folder) as stub:
        spoil(folder, 11, build)
        fails(stub, reason)


def fails(stub: Any, reason: str) -> None:
    """Version 11 does not load, and 10 serves on."""
    with pytest.raises(grpc.RpcError, match=reason) as caught:
        load(stub)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert answer(stub) == 10
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert [it.version for it in index if it.state == "UNAVAILABLE"] == ["11"]


def test_a_load_that_does_not_end_is_ended(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(serve, folder) as stub:  # whose good models may take longer
        brief = config.Loading(deadline=5)
        monkeypatch.setattr(loading, "try_out", lambda path, _: sandbox.try_out(path, brief))
        spoil(folder, 11, hostile.endless)
        fails(stub, "did not load and run within 5 s")


def link(folder: Path, place: str) -> None:
    """Move what is there out of the folder, and put a link to it in its place."""
    inside, outside = folder / place, folder.parent / "outside" / place
    outside.parent.mkdir(parents=True, exist_ok=True)
    inside.rename(outside)
    inside.symlink_to(outside)


@pytest.mark.parametrize("place", ["net", "net/10", "net/10/model.onnx", "cloud/1/manifest.json"])
def test_a_link_out_of_the_repository_is_not_followed(serve: Serve, folder: Path, place: str) -> None:
    name = place.partition("/")[0]
    with client(serve, folder) as stub:
        link(folder, place)
        with pytest.raises(grpc.RpcError, match=f"{place}.* leads out of the repository by a link") as caught:
            load(stub, name)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "outside" not in str(caught.value.details())
        assert answer(stub) == 10
    before = {"net": ("net", "10"), "cloud": ("cloud", "1")}
    assert before[name] not in served(catalogue(folder))


def test_a_link_to_a_link_that_leads_out_is_not_followed(folder: Path) -> None:
    link(folder, "net/10/model.onnx")
    (folder / "net" / "11").mkdir()
    (folder / "net" / "11" / "model.onnx").symlink_to("../10/model.onnx")
    found = catalogue(folder)
    assert served(found) == {("net", "2"), ("cloud", "1")}
    assert [entry.version for entry in found.index() if "leads out" in entry.reason] == ["10", "11"]


def test_links_in_circles_are_a_reason(folder: Path) -> None:
    (folder / "net" / "11").mkdir()
    (folder / "net" / "11" / "model.onnx").symlink_to("model.onnx")
    (folder / "net" / "12").symlink_to("12")
    found = catalogue(folder)
    assert served(found) == {("net", "10"), ("cloud", "1")}
    assert [entry.reason for entry in found.index() if entry.version == "11"] == [
        "cannot be read: too many levels of symbolic links"
    ]


def project(volume: Path, name: str, *links: str, scale: int) -> None:
    """Write a volume as kubelet does, and again: links to ``..data``, which is a link that is swapped."""
    linear(volume / f"..{scale}" / name, scale=scale)
    (volume / "..data_tmp").symlink_to(f"..{scale}")
    (volume / "..data_tmp").rename(volume / "..data")
    for one in links:
        (volume / one).symlink_to(f"..data/{one}")


@pytest.mark.parametrize(("at", "name"), [("", "net/1/model.onnx"), ("net/1", "model.onnx")])
def test_a_volume_of_kubernetes_is_all_links_and_is_served(
    serve: Serve, tmp_path: Path, at: str, name: str
) -> None:
    folder = tmp_path / "models"
    (tmp_path / "mounted").symlink_to(folder)
    project(folder / at, name, name.partition("/")[0], scale=3)
    with client(serve, tmp_path / "mounted") as stub:
        assert answer(stub) == 3
        project(folder / at, name, scale=4)
        load(stub)
        assert answer(stub) == 4


def test_calls_go_on_while_bomb_after_bomb_is_refused(serve: Serve, folder: Path) -> None:
    with client(serve, folder, **{"loading.memory": 256, "loading.deadline": 20}) as stub:
        reasons = list[str]()

        def spoilt() -> None:
            spoil(folder, 99, hostile.BOMBS[len(reasons) % len(hostile.BOMBS)])
            with pytest.raises(grpc.RpcError) as caught:
                load(stub)
            reasons.append(str(caught.value.details()))
            shutil.rmtree(folder / "net" / "99")

        with asking(stub) as (answers, failures):
            for _ in hostile.BOMBS:
                spoilt()
                assert wait_until(partial(more, answers, len(answers)), PATIENCE)
    assert failures == []
    assert set(answers) == {10.0}
    assert len(reasons) == len(hostile.BOMBS) > 12
    assert all("takes more memory" in it or "is no ONNX model" in it for it in reasons), reasons


def test_a_version_that_is_spoilt_in_place_serves_on(serve: Serve, folder: Path) -> None:
    with client(serve, folder) as stub:
        spoil(folder, 10)
        with pytest.raises(grpc.RpcError, match="no custom operators"):
            load(stub)
        assert answer(stub) == 10


def test_calls_are_answered_while_a_model_loads(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = list[sandbox.Trial]()

    def try_out(path: Path, limits: config.Loading) -> str:
        trials.append(sandbox.Trial(path, limits))
        return trials[-1].result()

    spoil(folder, 11, hostile.endless)
    add(folder, 12)
    with client(serve, folder, server__threads=1) as stub, ThreadPoolExecutor(1) as pool:
        (folder / "net" / "12").rename(folder / "12")
        monkeypatch.setattr(loading, "try_out", try_out)
        slow = pool.submit(load, stub)
        assert wait_until(lambda: bool(trials), PATIENCE)
        assert [answer(stub) for _ in range(50)] == [12] * 50
        assert not slow.done()
        trials[0]._child.kill()
        with pytest.raises(grpc.RpcError, match="its trial crashed: SIGKILL"):
            slow.result()


def test_unloaded_is_not_found_not_healthy_and_can_come_back(serve: Serve, folder: Path) -> None:
    flags = {"repository.path": str(folder), "repository.control": True}
    with serve(**flags) as running, grpc.insecure_channel(running.address) as channel:
        stub, health = GRPCInferenceServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="net")
        assert health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING
        unload(stub)
        with pytest.raises(grpc.RpcError, match="no model 'net' is served"):
            answer(stub)
        assert health.Check(asked).status == health_pb2.HealthCheckResponse.NOT_SERVING
        load(stub)
        assert answer(stub) == 10
        assert health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING


def test_callers_do_not_control_unless_they_may(serve: Serve, folder: Path) -> None:
    with client(serve, folder, **{"repository.control": False}) as stub:
        for call in (load, unload):
            with pytest.raises(grpc.RpcError, match=r"needs a \[repository\] with control = true") as caught:
                call(stub)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert answer(stub) == 10


def test_a_caller_brings_no_model_of_its_own(serve: Serve, folder: Path) -> None:
    with client(serve, folder) as stub:
        request = pb.RepositoryModelLoadRequest(model_name="net")
        request.parameters["file:1/model.onnx"].bytes_param = b"x"
        with pytest.raises(grpc.RpcError, match="no parameters are taken"):
            stub.RepositoryModelLoad(request)
        for name in ("absent", "../models/net", "."):
            with pytest.raises(grpc.RpcError, match=r"no model .* in the repository"):
                load(stub, name)


def test_sighup_reads_the_folder_anew(workplace: Path, folder: Path) -> None:
    (workplace / "cloud.toml").write_text(f'[repository]\npath = "{folder}"\n')
    with started(workplace, "--config", workplace / "cloud.toml") as process:
        assert process.ready.endswith("models: cloud 1, net 10\n")
        with grpc.insecure_channel(process.address) as channel:
            stub = GRPCInferenceServiceStub(channel)
            add(folder, 11)
            os.kill(process.popen.pid, signal.SIGHUP)
            wait_until(lambda: answer(stub) == 11, PATIENCE)
        process.popen.terminate()
        assert process.popen.wait() == 0


def test_models_lists_versions_and_reasons(workplace: Path, folder: Path) -> None:
    spoil(folder, 11)
    (workplace / "cloud.toml").write_text(f'[repository]\npath = "{folder}"\n')
    ended = finished(["models", "--config", workplace / "cloud.toml"])
    assert ended.returncode == 0
    cloud, net, failed = ended.stdout.splitlines()
    assert cloud.startswith("would serve cloud 1: x FP32 [-1, 3] -> logits FP32 [-1, 3], fp32, sha256 ")
    assert net.startswith("would serve net 10: ")
    assert failed.startswith("cannot serve net 11: needs the operator 'Run'")
