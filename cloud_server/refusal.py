"""What a caller hears of an error. Apart from the errors, which are needed where nobody calls."""

import logging

import grpc
from google.protobuf.message import DecodeError

from cloud_server import errors
from protos.codec import CodecError
from protos.image import ImageError

LONGEST = 500
"""Characters of an error's details: they travel in a header, and headers are small."""

log = logging.getLogger(__name__)

STATUS: dict[type[Exception], grpc.StatusCode] = {
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.ModelError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BadInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Expired: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Gone: grpc.StatusCode.CANCELLED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Stopping: grpc.StatusCode.UNAVAILABLE,
    errors.NotOffered: grpc.StatusCode.UNIMPLEMENTED,
    CodecError: grpc.StatusCode.INVALID_ARGUMENT,
    ImageError: grpc.StatusCode.INVALID_ARGUMENT,
    DecodeError: grpc.StatusCode.INVALID_ARGUMENT,
}
"""The status of each refusal; what is not here is INTERNAL."""


def refusal(error: Exception) -> tuple[grpc.StatusCode, str]:
    """What a caller hears of an error; a mistake of ours goes into the log."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        log.error("internal error", exc_info=error)
        return grpc.StatusCode.INTERNAL, "internal error"
    return status, str(error)[:LONGEST]
