"""A response put together on the wire is what protobuf makes of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from cloud_server.calls import reading, writing
from cloud_server.inference.answering import Answer
from cloud_server.inference.model import Card
from protos import codec, timing
from protos import inference_pb2 as pb
from protos.codec import Tensor
from protos.identity import MODEL_SHA256

TIMING = timing.facts(0.001, 0.002)
CARD = Card(name="cloud", version="1", precision="fp32", sha256="2" * 64, inputs=(), outputs=())
texts = some.lists(some.binary(max_size=200), max_size=3).map(lambda items: np.array(items, object))
numbers = some.builds(
    lambda count, dtype: np.arange(count).astype(dtype),
    some.integers(0, 5000),
    some.sampled_from([np.float16, np.float32, np.int64, np.uint8, np.bool_, np.dtype(">f8")]),
)
outputs = some.dictionaries(some.text(max_size=9), texts | numbers, max_size=3)


def asked(request_id: str, *, raw: bool) -> reading.Request:
    request = codec.request("cloud", {"x": np.ones(1, np.float32)}, request_id=request_id)
    if not raw:
        del request.raw_input_contents[:]
    return reading.read(request.SerializeToString())


def expected(tensors: dict[str, Tensor], request_id: str, *, raw: bool) -> pb.ModelInferResponse:
    response = codec.response("cloud", "1", request_id, tensors, typed=not raw)
    for name, value in {MODEL_SHA256: CARD.sha256, **TIMING}.items():
        response.parameters[name].string_param = value
    return response


@given(outputs, some.text(max_size=300), some.booleans())
def test_whatever_is_in_it(tensors: dict[str, Tensor], request_id: str, raw: bool) -> None:  # noqa: FBT001
    request, answer = asked(request_id, raw=raw), Answer(CARD, tensors, TIMING)
    whole = expected(tensors, request_id, raw=raw)
    assert pb.ModelInferResponse.FromString(writing.response(request, answer)) == whole
    whole.parameters["triton_final_response"].bool_param = True
    streamed = pb.ModelStreamInferResponse.FromString(writing.streamed(request, answer))
    assert streamed == pb.ModelStreamInferResponse(infer_response=whole)
