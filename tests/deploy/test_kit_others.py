"""`deploy/kserve` and `deploy/triton`: others in our server's place, as far as their own types can tell."""

import json
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from ruamel.yaml import YAML

from edge_node import config
from edge_node.config import Cloud
from edge_node.handshake import open_channel, verify
from protos import artifact
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.process import finished
from tests.edge_node.clouds import HOST, cloud
from tests.models import cloud_artifact
from tests.services import require

ROOT = Path(__file__).parents[2]
KSERVE, TRITON = ROOT / "deploy/kserve", ROOT / "deploy/triton"
WRIST = ROOT / "deploy/demo/wrist"
TYPES = {
    "runtime.yaml": "V1alpha1ServingRuntime",
    "ours.yaml": "V1beta1InferenceService",
    "triton.yaml": "V1beta1InferenceService",
}


def manifest(name: str) -> Any:
    return YAML(typ="safe").load(KSERVE / name)


def test_kserve_knows_every_word_and_would_notice_others() -> None:
    """By the types of KServe's own package."""
    wrong = manifest("runtime.yaml")
    wrong["spec"]["protocolVersion"] = ["v2"]
    wrong["spec"]["containers"][0]["readinessProbe"]["grcp"] = {}
    pairs = [*((kind, manifest(name)) for name, kind in TYPES.items()), (TYPES["runtime.yaml"], wrong)]
    command: list[str | Path] = [require("kserve"), ROOT / "tests/deploy/kserve_words.py"]
    told = json.dumps(pairs)
    said = subprocess.run(command, input=told, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [
        *([] for _ in TYPES),
        [".spec.containers[0].readinessProbe.grcp", ".spec.protocolVersion"],
    ]


def test_the_runtime_starts_our_server(tmp_path: Path) -> None:
    cloud_artifact(tmp_path / "cloud/1")
    (container,) = manifest("runtime.yaml")["spec"]["containers"]
    verb, *flags = container["args"]
    given = {it["name"]: it.get("value", "1") for it in container["env"]}
    assert given["TIDEGATE_REPOSITORY__PATH"] == "/mnt/models"
    given |= {"TIDEGATE_REPOSITORY__PATH": str(tmp_path), "TIDEGATE_SERVER__PORT": "0"}
    assert verb == "run"
    checked = finished(["check", *flags], **given, TIDEGATE_METRICS__PORT="0")
    assert checked.returncode == 0, checked.stderr
    assert "would serve cloud 1" in checked.stdout
    (port,) = container["ports"]
    assert container["readinessProbe"]["grpc"]["port"] == port["containerPort"] == 8001


def test_each_service_names_a_runtime_that_takes_its_model() -> None:
    runtime = manifest("runtime.yaml")
    model = manifest("ours.yaml")["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in {it["name"] for it in runtime["spec"]["supportedModelFormats"]}
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


@pytest.mark.parametrize("folder", [KSERVE, TRITON], ids=lambda folder: folder.name)
def test_the_node_asks_for_the_model_that_is_there(folder: Path) -> None:
    node = config.load(folder / "node.toml")
    assert node.cloud
    assert node.cloud.model == artifact.load(WRIST / "cloud").manifest.name


@pytest.fixture(scope="module")
def triton() -> Any:
    """The model's configuration, as Triton's own type."""
    model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2", exc_type=ImportError)
    text = (TRITON / "models/wrist-cloud/config.pbtxt").read_text()
    with pytest.raises(text_format.ParseError, match="max_batchsize"):
        text_format.Parse(text.replace("max_batch_size", "max_batchsize"), model_config_pb2.ModelConfig())
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def told(tensor: Any) -> pb.ModelMetadataResponse.TensorMetadata:
    """As Triton tells of it: with the axis of the batch before the others."""
    types = type(tensor).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    datatype = types[tensor.data_type].name.removeprefix("TYPE_")
    return pb.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=datatype, shape=[-1, *tensor.dims]
    )


def test_triton_serves_what_the_artifact_is(triton: Any) -> None:
    signature = artifact.load(WRIST / "cloud").manifest.signature
    for (ours,), theirs in (([signature.input], triton.input), ([signature.output], triton.output)):
        (tensor,) = map(told, theirs)
        assert (tensor.name, tensor.datatype, tuple(tensor.shape)) == (ours.name, ours.datatype, ours.shape)
    (warm,) = triton.model_warmup
    assert set(warm.inputs) == {signature.input.name}
    assert list(warm.inputs[signature.input.name].dims) == list(triton.input[0].dims)


def test_the_device_takes_it_by_name_and_signature(triton: Any) -> None:
    """By what Triton would say of this configuration, which has no digest."""

    def describe(request: pb.ModelMetadataRequest, _: grpc.ServicerContext) -> pb.ModelMetadataResponse:
        return pb.ModelMetadataResponse(
            name=request.name, inputs=map(told, triton.input), outputs=map(told, triton.output)
        )

    with cloud(described=describe) as port:
        settings = Cloud(target=f"{HOST}:{port}", model=triton.name)
        with open_channel(settings) as channel:
            stub = GRPCInferenceServiceStub(channel)
            assert verify(stub, settings, artifact.load(WRIST / "edge"), 10) == "window"
