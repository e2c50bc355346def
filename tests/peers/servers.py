"""Each of the others as a process on free ports, with one ONNX file of input ``x`` and output ``logits``."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from protos.signature import spec
from tests.ports import free_port
from tests.services import require

HERE = Path(__file__).parent
HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds until a server answers, which takes the slowest three on a machine that is not busy."""


@dataclass(frozen=True)
class Peer:
    """A server that answers."""

    target: str
    """Of gRPC."""
    rest: str
    """The same over HTTP."""
    pid: int
    """Leader of the session that all of its processes belong to."""
    took: float
    """Seconds from its start to its first answer."""


@contextmanager
def mlserver(folder: Path, model: Path, *, threads: int = 1, workers: int = 0) -> Iterator[Peer]:
    """MLServer; ``workers``: processes beside its own that run the model."""
    python = require("mlserver")
    http, port, metrics = free_port(), free_port(), free_port()
    inputs, outputs = signature(model)
    (folder / "settings.json").write_text(
        json.dumps(
            {
                "host": HOST,
                "http_port": http,
                "grpc_port": port,
                "metrics_port": metrics,
                "metrics_dir": str(folder),
                "parallel_workers": workers,
                "debug": False,
                "grpc_max_message_length": 1 << 30,
            }
        )
    )
    settings = {
        "name": model.stem,
        "platform": "onnx",
        "inputs": inputs,
        "outputs": outputs,
        "implementation": "mlserver_model.OnnxModel",
        "parameters": {"uri": str(model), "extra": {"threads": threads}},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
    command = [python.with_name("mlserver"), "start", folder]
    with started(command, folder, (port, http), model.stem, {"PYTHONPATH": str(HERE)}) as peer:
        yield peer


@contextmanager
def kserve(folder: Path, model: Path, *, threads: int = 1, runs: int = 0) -> Iterator[Peer]:
    """KServe's Python server; ``runs``: inferences at once, 0: on its event loop."""
    python = require("kserve")
    port, http = free_port(), free_port()
    command = [python, HERE / "kserve_server.py", model, port, http, threads, runs]
    with started(command, folder, (port, http), model.stem) as peer:
        yield peer


@contextmanager
def triton(
    folder: Path, model: Path, *, instances: int = 1, batch: int = 0, delay: int = 500
) -> Iterator[Peer]:
    """Triton with its Python backend; ``batch``: most samples of a batch, which waits ``delay`` µs."""
    python = require("triton")
    home = next(python.parents[1].glob("lib/python3*/site-packages"))
    shutil.copytree(home / "pytriton/tritonserver/backends", folder / "backends")
    version = home.parent.name.removeprefix("python")
    stub = home / f"pytriton/tritonserver/python_backend_stubs/{version}/triton_python_backend_stub"
    shutil.copy(stub, folder / "backends/python")
    repository = folder / "models" / model.stem
    (repository / "1").mkdir(parents=True)
    shutil.copy(HERE / "triton_model.py", repository / "1/model.py")
    (repository / "config.pbtxt").write_text(_triton_config(model, instances, batch, delay))
    port, http = free_port(), free_port()
    command = [
        home / "pytriton/tritonserver/bin/tritonserver",
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        f"--grpc-port={port}",
        f"--http-port={http}",
        f"--grpc-address={HOST}",
        f"--http-address={HOST}",
        "--allow-metrics=false",
        "--disable-auto-complete-config",
    ]
    environ = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",  # where Python finds itself
        "LD_LIBRARY_PATH": str(home / "nvidia_pytriton.libs"),
    }
    with started(command, folder, (port, http), model.stem, environ) as peer:
        yield peer


def _triton_config(model: Path, instances: int, batch: int, delay: int) -> str:
    """Without batching the batch axis is one of the model's own."""
    inputs, outputs = signature(model)
    lines = [f'name: "{model.stem}"', 'backend: "python"', f"max_batch_size: {batch}"]
    for kind, it in (("input", inputs[0]), ("output", outputs[0])):
        dims = it["shape"][1:] if batch else it["shape"]
        lines.append(f'{kind} [{{ name: "{it["name"]}" data_type: TYPE_{it["datatype"]} dims: {dims} }}]')
    lines.append(f"instance_group [{{ count: {instances} kind: KIND_CPU }}]")
    if batch:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {delay} }}")
    for key, value in (("file", model), ("threads", 1)):
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join(lines)


@contextmanager
def started(
    command: Sequence[object],
    folder: Path,
    ports: tuple[int, int],
    model: str,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Peer]:
    """A process that serves the model at these ports, gRPC and HTTP; its whole session ends on leaving."""
    port, http = ports
    log, start = folder / "log", time.monotonic()
    with log.open("wb") as output:
        popen = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                "GRPC_EXPERIMENTS": "-event_engine_listener",
                **(environ or {}),
            },  # as ours has it
        )
    try:
        target = f"{HOST}:{port}"
        _wait_ready(target, model, popen, log)
        yield Peer(target, f"http://{HOST}:{http}", popen.pid, time.monotonic() - start)
    finally:
        popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            popen.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()


def _wait_ready(target: str, model: str, popen: "subprocess.Popen[bytes]", log: Path) -> None:
    options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 20)]
    with grpc.insecure_channel(target, options) as channel:
        ready = GRPCInferenceServiceStub(channel).ModelReady
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if ready(pb.ModelReadyRequest(name=model), timeout=5).ready:
                    return
            except grpc.RpcError:
                pass
            assert popen.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.01)


def signature(model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs as the protocol words them."""
    from onnxruntime import InferenceSession

    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    return [_said(it) for it in session.get_inputs()], [_said(it) for it in session.get_outputs()]


def _said(tensor: Any) -> dict[str, Any]:
    it = spec(tensor)
    return {"name": it.name, "datatype": it.datatype, "shape": list(it.shape)}
