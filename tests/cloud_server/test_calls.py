"""The six calls, by our own stubs against a real server."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from deploy.demo.processes import wait_until
from protos import artifact, codec, image
from protos import inference_pb2 as pb
from protos.identity import MODEL_SHA256, PREPROCESSING_SHA256
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.conftest import Serve
from tests.cloud_server.graphs import plain

ROWS = np.array([[1, 0, 0], [0, 2, 0]], np.float32)


def infer(stub: Any, model: str, **tensors: np.ndarray) -> dict[str, np.ndarray]:
    return codec.response_tensors(stub.ModelInfer(codec.request(model, tensors)))


def test_live_and_ready(stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("cloud", "", True), ("cloud", "1", True), ("cloud", "2", False), ("absent", "", False)],
)
def test_a_model_is_ready_if_it_is_here(stub: Any, name: str, version: str, *, ready: bool) -> None:
    assert stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready is ready


def test_server_metadata_names_the_software(stub: Any) -> None:
    metadata = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert metadata.name == "tidegate"
    assert metadata.version


def test_model_metadata_is_the_signature(stub: Any) -> None:
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="cloud"))
    assert (metadata.name, list(metadata.versions)) == ("cloud", ["1"])
    assert [(it.name, it.datatype, list(it.shape)) for it in metadata.inputs] == [("x", "FP32", [-1, 3])]
    assert [(it.name, it.datatype, list(it.shape)) for it in metadata.outputs] == [
        ("logits", "FP32", [-1, 3])
    ]


def test_image_models_keep_their_numeric_signature(stub: Any) -> None:
    (given,) = stub.ModelMetadata(pb.ModelMetadataRequest(name="colour")).inputs
    assert (given.datatype, list(given.shape)) == ("UINT8", [-1, 8, 8, 3])


@pytest.mark.parametrize(("name", "file"), [("cloud", "model.onnx"), ("plain", "")])
def test_model_metadata_carries_the_digest(stub: Any, models: dict[str, Path], name: str, file: str) -> None:
    _, call = stub.ModelMetadata.with_call(pb.ModelMetadataRequest(name=name))
    assert dict(call.trailing_metadata())[MODEL_SHA256] == artifact.digest(models[name] / file)


def test_model_metadata_says_how_a_payload_becomes_an_input(stub: Any, models: dict[str, Path]) -> None:
    found = {}
    for name in ("cloud", "colour", "plain"):
        _, call = stub.ModelMetadata.with_call(pb.ModelMetadataRequest(name=name))
        found[name] = dict(call.trailing_metadata()).get(PREPROCESSING_SHA256)
    made = {name: artifact.load(models[name]).manifest for name in ("cloud", "colour")}
    assert found == {name: artifact.preprocessing_id(it) for name, it in made.items()} | {"plain": None}


def test_inference_from_an_artifact(stub: Any) -> None:
    np.testing.assert_array_equal(infer(stub, "cloud", x=ROWS)["logits"], 10 * ROWS)


def test_inference_from_a_plain_file(stub: Any) -> None:
    np.testing.assert_array_equal(infer(stub, "plain", x=ROWS)["logits"], ROWS)


def test_the_answer_names_model_version_and_request(stub: Any) -> None:
    answer = stub.ModelInfer(codec.request("cloud", {"x": ROWS}, request_id="7"))
    assert (answer.model_name, answer.model_version, answer.id) == ("cloud", "1", "7")


def test_raw_is_answered_with_raw(stub: Any) -> None:
    answer = stub.ModelInfer(codec.request("cloud", {"x": ROWS}))
    assert len(answer.raw_output_contents) == 1
    assert not answer.outputs[0].HasField("contents")


def test_typed_is_answered_with_typed(stub: Any) -> None:
    x = pb.ModelInferRequest.InferInputTensor(
        name="x", datatype="FP32", shape=[2, 3], contents=pb.InferTensorContents(fp32_contents=ROWS.ravel())
    )
    answer = stub.ModelInfer(pb.ModelInferRequest(model_name="cloud", inputs=[x]))
    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.fp32_contents) == [10, 0, 0, 0, 20, 0]


def test_every_output_unless_some_are_requested(stub: Any) -> None:
    one, two = np.ones(2, np.float32), np.full(2, 2, np.float32)
    answer = infer(stub, "arithmetic", b=one, a=two)
    assert {name: array.tolist() for name, array in answer.items()} == {"sum": [3, 3], "difference": [1, 1]}
    request = codec.request("arithmetic", {"a": two, "b": one})
    request.outputs.add(name="difference")
    assert list(codec.response_tensors(stub.ModelInfer(request))) == ["difference"]


def test_an_empty_batch_has_an_empty_answer(stub: Any) -> None:
    assert infer(stub, "cloud", x=ROWS[:0])["logits"].shape == (0, 3)


def test_half_precision_travels_raw(stub: Any) -> None:
    x = np.array([0.5, 2], np.float16)
    np.testing.assert_array_equal(infer(stub, "half", x=x)["y"], x)


def test_text_goes_in_and_out_as_bytes(stub: Any) -> None:
    x = np.array([b"Ebbe", "Flut, größer".encode(), b""], object)
    assert infer(stub, "text", x=x)["y"].tolist() == x.tolist()


def test_encoded_images_are_decoded(stub: Any) -> None:
    x = np.array([image.encode(plain(2)), jpeg(plain(0))], object)
    logits = infer(stub, "colour", x=x)["logits"]
    assert logits[0].tolist() == [0, 0, 200]
    assert logits[1].argmax() == 0


def test_image_models_take_pixels_too(stub: Any) -> None:
    assert infer(stub, "colour", x=plain(1)[np.newaxis])["logits"].tolist() == [[0, 200, 0]]


def test_a_call_that_expires_while_it_waits_never_reaches_the_model(
    serve: Serve, models: dict[str, Path]
) -> None:
    with (
        serve(models["counting"], models["cloud"], server__threads=1) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = GRPCInferenceServiceStub(channel)
        busy = stub.ModelInfer.future(codec.request("counting", {"n": np.array([10**12])}))
        value = running.meter.registry.get_sample_value
        assert wait_until(lambda: value("tidegate_requests_in_flight") == 1, 10)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(codec.request("cloud", {"x": ROWS}), timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        running.repository.get("counting").runs.stop()
        assert busy.exception()
        infer(stub, "cloud", x=ROWS)
        name, labels = "tidegate_model_inference_duration_seconds_count", {"model": "cloud"}
        assert value(name, labels) == 1


def jpeg(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()
