"""Single calls: in by the door, answered when their message is here and it is their turn."""

from collections.abc import Callable, Sequence
from typing import Any

from cloud_server.access.callers import Caller
from cloud_server.calls import reading
from cloud_server.calls.arrivals import Arrivals
from cloud_server.calls.door import Door, trailer
from cloud_server.calls.exchange import NO_MESSAGE, Exchange
from cloud_server.calls.hall import Hall, Kind
from cloud_server.calls.reading import Request
from cloud_server.errors import Expired, RequestError, Unauthenticated
from cloud_server.inference.call import USUAL
from cloud_server.refusal import refusal

Answer = Callable[[Any, Any], bytes]
"""A message, and whose call it is -> the response; or the call is aborted."""
Turns = Sequence[tuple[Exchange, Kind]]
Who = Callable[[Any], Caller]
"""``Unauthenticated`` if nobody knows."""


class Singles:
    """Takes every call of a method."""

    def __init__(
        self, who: Who, door: Door, arrivals: Arrivals[Exchange], hall: Hall[Exchange], answer: Answer
    ) -> None:
        """``answer`` gets what ``reading.tried`` has found."""
        self._who, self._door, self._arrivals, self._hall = who, door, arrivals, hall
        self._answer = answer

    def begin(self, call: Exchange) -> None:
        """Let it in, or refuse it unread."""
        try:
            caller = call.caller = self._who(call)
        except Unauthenticated as error:
            self._refuse(call, error)
            return
        if full := self._door.closed(caller.identity):
            call.turn_away(*refusal(full), trailer(full))
            return
        for late in self._arrivals.expect(call, caller.identity):
            self._refuse(late, Expired("the message took too long to come"))
        call.receive(self._received)

    def _received(self, call: Exchange, message: bytes | None) -> None:
        if not self._arrivals.arrived(call):
            return
        priority = USUAL
        if message is not None:
            call.asked = request = reading.tried(message)
            priority = request.wishes.priority if isinstance(request, Request) else USUAL
        self._go_on(self._hall.enter(call, (call.caller.identity, priority)))

    def _go_on(self, turns: Turns) -> None:
        while turns:
            (call, kind), *others = turns
            for other in others:
                call.apart(self._go_on, [other])
            self._take(call)
            turns = self._hall.leave(kind)

    def _take(self, call: Exchange) -> None:
        if call.asked is None:
            call.refuse(*NO_MESSAGE)
        elif call.is_active():
            call.answer(self._answer, call.asked)

    def _refuse(self, call: Exchange, error: RequestError) -> None:
        self._door.refused(error)
        call.refuse(*refusal(error))
