"""The answer in a response, which may be anybody's bytes."""

import numpy as np
from google.protobuf.message import DecodeError

from edge_node.gate.confidence import softmax_top
from protos import codec
from protos import inference_pb2 as pb


class NoAnswer(ValueError):
    """A response that answers nothing; the message says why."""


def read(response: bytes, classes: int) -> tuple[int, float]:
    """(class index, confidence) in a serialised ``ModelInferResponse``; ``NoAnswer`` if it has none."""
    try:
        tensors = codec.response_tensors(pb.ModelInferResponse.FromString(response))
    except (DecodeError, codec.CodecError) as error:
        raise NoAnswer(f"malformed response: {error}") from error
    logits = next(iter(tensors.values()), np.empty(0))
    if logits.shape != (1, classes) or logits.dtype.kind != "f":
        raise NoAnswer(f"the cloud answered {logits.dtype} {list(logits.shape)}, not [1, {classes}] logits")
    with np.errstate(over="ignore"):  # of a float64: an infinity, which is refused
        class_index, confidence = softmax_top(logits[0].astype(np.float32))
    if not confidence:
        raise NoAnswer("the cloud answered NaN or infinity")
    return class_index, confidence
