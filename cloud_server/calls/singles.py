"""Single calls: in by the door, read when it is their turn, answered where their message comes."""

from collections.abc import Callable
from typing import Any

import grpc

from cloud_server.calls.door import Door, trailer
from cloud_server.calls.exchange import Aborted, Exchange
from cloud_server.calls.hall import Hall
from cloud_server.refusal import refusal

Answer = Callable[[bytes, Any], bytes]
"""A message, and whose call it is -> the response; or the call is aborted."""


class Singles:
    """Takes every call of a method."""

    def __init__(self, door: Door, hall: Hall[Exchange], answer: Answer) -> None:
        self._door, self._hall, self._answer = door, hall, answer

    def begin(self, call: Exchange) -> None:
        """Let it in, or refuse it unread."""
        if full := self._door.closed():
            call.turn_away(*refusal(full), trailer(full))
        else:
            self._read(self._hall.enter(call))

    def _read(self, call: Exchange | None) -> None:
        """That, or the next one whose caller has not gone."""
        while call and not call.is_active():
            call = self._hall.leave()
        if call:
            call.receive(self._received)

    def _received(self, call: Exchange, message: bytes | None) -> None:
        try:
            if message is None:
                call.refuse(grpc.StatusCode.UNIMPLEMENTED, "a single call is to have one message")
            else:
                call.finish(self._answer(message, call))
        except Aborted:
            call.finish()
        finally:
            self._read(self._hall.leave())
