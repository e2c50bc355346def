"""Ray Serve on this machine with our application, asked and taken down again: ``ray_stand FOLDER``.

Runs where no other machine and no other process is in reach, since Ray's proxy listens on every address
and Ray ends processes by their names. Prints what it saw, as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import numpy as np
import ray
from ray import serve
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema, gRPCOptionsSchema
from ruamel.yaml import YAML

from deploy.demo.processes import wait_until
from deploy.ray import application
from protos import codec
from protos import inference_pb2 as pb
from protos.identity import MODEL_SHA256
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.nodes import started, write_config

CONFIG = Path(application.__file__).with_name("serve.yaml")
PATIENCE = 30.0
SURE, UNSURE = [0, 5, 0], [0, 0.5, 0]


def main(folder: Path) -> None:
    """``folder`` holds the artifacts ``edge`` and ``cloud`` and the settings ``cloud.toml``."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with cluster(folder) as target, grpc.insecure_channel(target) as channel:
        seen = {"unknown_words": unknown(), **calls(channel), "node": node(folder, target)}
    wait_until(lambda: not others(), PATIENCE)
    sys.stdout.write(json.dumps({**seen, "left": others()}))


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The application as ``serve.yaml`` has it; gives the proxy's address."""
    config = YAML(typ="safe").load(CONFIG)
    with TemporaryDirectory(prefix="tidegate-ray-") as scratch:
        ray.init(
            include_dashboard=False, num_cpus=2, object_store_memory=100 << 20, _temp_dir=scratch,
            log_to_driver=False, logging_level="ERROR",
        )  # fmt: skip
        serve.start(http_options=config["http_options"], grpc_options=config["grpc_options"])
        serve.run(application.build({"settings": str(folder / "cloud.toml")}), name="tidegate")
        try:
            yield f"127.0.0.1:{config['grpc_options']['port']}"
        finally:
            serve.shutdown()
            ray.shutdown()


def unknown() -> list[str]:
    """Words of the configuration that Ray would pass over in silence; ``ValueError`` if it takes none."""
    config = YAML(typ="safe").load(CONFIG)
    ServeDeploySchema.model_validate(config)
    (application_,) = config["applications"]
    levels = [
        (ServeDeploySchema, config),
        (gRPCOptionsSchema, config["grpc_options"]),
        (ServeApplicationSchema, application_),
        *((DeploymentSchema, it) for it in application_["deployments"]),
    ]
    return [word for schema, given in levels for word in given if word not in schema.model_fields]


def calls(channel: grpc.Channel) -> dict[str, Any]:
    """One call of each kind."""
    stub = GRPCInferenceServiceStub(channel)
    metadata, described = stub.ModelMetadata.with_call(
        pb.ModelMetadataRequest(name="cloud"), timeout=PATIENCE
    )
    request = codec.request("cloud", {"x": np.array([UNSURE], np.float32)}, request_id="7")
    answer = stub.ModelInfer(request, timeout=PATIENCE)
    raw: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    return {
        "ready": stub.ServerReady(pb.ServerReadyRequest(), timeout=PATIENCE).ready,
        "extensions": list(stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=PATIENCE).extensions),
        "model": metadata.name,
        "digests": [
            dict(described.trailing_metadata()).get(MODEL_SHA256),
            answer.parameters[MODEL_SHA256].string_param,
        ],
        "logits": codec.response_tensors(answer)["logits"].tolist(),
        "id": answer.id,
        "unknown": refusal(lambda: stub.ModelInfer(codec.request("absent", {}), timeout=PATIENCE)),
        "garbage": refusal(lambda: raw(b"\xff", timeout=PATIENCE)),
        "stream": refusal(lambda: list(stub.ModelStreamInfer(iter([request]), timeout=PATIENCE))),
    }


def refusal(call: Callable[[], Any]) -> list[str]:
    """Status and details."""
    try:
        call()
    except grpc.RpcError as error:
        refused: Any = error
        return [refused.code().name, refused.details()]
    return ["OK", ""]


def node(folder: Path, target: str) -> list[list[str | None]]:
    """What an edge node answers, sample by sample."""
    sections: dict[str, Any] = {
        "source": {"kind": "stdin"},
        "cloud": {"target": target, "deadline": PATIENCE},
    }
    with started(folder, write_config(folder, folder / "edge", **sections)) as process:
        process.feed([SURE, UNSURE])
        return [[result.reason, result.label] for result in process.results(2)]


def others() -> list[str]:
    """Every other process there is."""
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = (_command(path) for path in processes if path.name not in ("1", str(os.getpid())))
    return [command for command in found if command]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:  # it has ended
        return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
