"""The answer in a response, which may be anybody's bytes."""

import numpy as np
from google.protobuf.message import DecodeError

from edge_node.gate.confidence import softmax_top
from protos import codec
from protos import inference_pb2 as pb


class NoAnswer(ValueError):
    """A response that answers nothing; the message says why."""


def parse(response: bytes) -> pb.ModelInferResponse:
    """``NoAnswer`` if it is none."""
    try:
        return pb.ModelInferResponse.FromString(response)
    except DecodeError as error:
        raise NoAnswer(f"malformed response: {error}") from error


def facts(response: pb.ModelInferResponse) -> dict[str, str]:
    """What is said beside the answer: by our own server, which model gave it and how long that took."""
    return {name: it.string_param for name, it in response.parameters.items() if it.string_param}


def read(response: pb.ModelInferResponse, classes: int) -> tuple[int, float]:
    """(class index, confidence); ``NoAnswer`` if there is none in it."""
    try:
        tensors = codec.response_tensors(response)
    except codec.CodecError as error:
        raise NoAnswer(f"malformed response: {error}") from error
    logits = next(iter(tensors.values()), np.empty(0))
    if logits.shape != (1, classes) or logits.dtype.kind != "f":
        raise NoAnswer(f"the cloud answered {logits.dtype} {list(logits.shape)}, not [1, {classes}] logits")
    with np.errstate(over="ignore"):  # of a float64: an infinity, which is refused
        class_index, confidence = softmax_top(logits[0].astype(np.float32))
    if not confidence:
        raise NoAnswer("the cloud answered NaN or infinity")
    return class_index, confidence
