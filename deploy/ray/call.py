"""Ray's side of a call, as our server knows calls from gRPC."""

from collections.abc import Sequence
from math import inf
from typing import Any, NoReturn

import grpc


class Reply(bytes):
    """A message that has been serialised already."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return bytes(self)


class Refused(Exception):
    """The call has its status."""


class Context:
    """Ray's context of a call as gRPC's, as far as our server asks. Ray does not tell the call's deadline."""

    def __init__(self, told: Any) -> None:
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._told, name)

    def time_remaining(self) -> float:
        """As if there were none."""
        return inf

    def is_active(self) -> bool:
        return True

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        self._told.set_trailing_metadata(list(metadata))

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """Ray takes the status from its context; an exception it would log as a failure."""
        self._told.set_code(code)
        self._told.set_details(details)
        raise Refused
