"""An open call that holds no thread: what is to be done when something comes is said beforehand."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, NoReturn

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from cloud_server.access.callers import NOBODY
from cloud_server.calls.lookout import Lookout

log = logging.getLogger(__name__)

Happened = tuple[object, tuple[()]]
"""What grpcio's server is to hear of an event: what ended with it, if anything, and nothing to call."""
NOTHING: Happened = None, ()
PLAIN = 0
"""No flags."""
OK: int = grpc.StatusCode.OK.value[0]
Metadata = tuple[tuple[str, str], ...]
EMPTY: Metadata = ()
NO_MESSAGE = grpc.StatusCode.UNIMPLEMENTED, "a single call is to have one message"


class Aborted(Exception):
    """The call has its status."""


class Exchange:
    """One call. Of ``grpc.ServicerContext`` it has what answering asks for."""

    __slots__ = (
        "_active",
        "_begun",
        "_call",
        "_code",
        "_details",
        "_due",
        "_finished",
        "_lock",
        "_lookout",
        "_told",
        "_trailing",
        "asked",
        "caller",
    )

    def __init__(self, event: Any, lookout: Lookout) -> None:
        """What takes long is done inside ``lookout``, so that others are heard meanwhile."""
        self._told, self._call, self._lookout = event, event.call, lookout
        self._active, self._begun, self._finished = True, False, False
        self._code: grpc.StatusCode | None = None
        self._details, self._trailing = "", EMPTY
        self._due, self._lock = 0, Lock()
        self.caller = NOBODY
        """Who calls, once that is known."""
        self.asked: Any = None
        """What its message says."""
        self._start(self._closed, cygrpc.ReceiveCloseOnServerOperation(PLAIN))

    def receive(self, then: "Then", response: bytes | None = None) -> None:
        """``then`` gets the next message; ``None`` if no other will come. ``response`` is sent before."""
        sent = () if response is None else self._sending(response)
        if not self._start(partial(self._received, then), cygrpc.ReceiveMessageOperation(PLAIN), *sent):
            self.attempt(then, None)

    def finish(self, response: bytes | None = None) -> None:
        """The last that is done with it. Its status is OK if it was given none."""
        code = self._code.value[0] if self._code else OK
        status = cygrpc.SendStatusFromServerOperation(self._trailing, code, self._details.encode(), PLAIN)
        self._finished = True
        self._start(self._done, *self._sending(response), status)

    def refuse(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        """Finish with this status."""
        self._code, self._details, self._trailing = code, details, trailing
        self.finish()

    def turn_away(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        """Refuse it unread, with an eye on those who come after."""
        self._lookout.alert()
        self.refuse(code, details, trailing)

    def answer(self, behave: "Behave", asked: Any) -> None:
        """Finish with what is answered, or with the status with which it is aborted."""
        self.attempt(_answer, behave, asked)

    def attempt(self, act: Callable[..., object], *args: object) -> None:
        """Do that for it: a fault of ours is its status, for else its caller would wait for nothing."""
        try:
            act(self, *args)
        except Exception:
            log.exception("a call could not be answered")
            if not self._finished:
                self.refuse(grpc.StatusCode.INTERNAL, "internal error, see the server's log")

    def apart(self, act: Callable[..., object], *args: object) -> None:
        """Have that done by a thread of its own."""
        self._lookout.elsewhere(act, *args)

    def is_active(self) -> bool:
        """Whether its caller still waits, as far as is known."""
        return self._active

    def time_remaining(self) -> float:
        """Seconds."""
        deadline: float = self._told.call_details.deadline
        return max(deadline - time.time(), 0.0)

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """As sent."""
        sent: Sequence[tuple[str, str | bytes]] = self._told.invocation_metadata
        return sent

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """What its connection has shown."""
        return {key.decode(): shown for key, shown in (cygrpc.auth_context(self._call) or {}).items()}

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """To go with the status."""
        self._trailing = metadata

    def code(self) -> grpc.StatusCode | None:
        """``None`` as long as it has none."""
        return self._code

    def set_code(self, code: grpc.StatusCode) -> None:
        """To finish with."""
        self._code = code

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """It is to end with this status, and what is being done for it ends here."""
        self._code, self._details = code, details
        raise Aborted

    def _sending(self, message: bytes | None) -> tuple[Any, ...]:
        """What sends it, if there is one, and before the first of all what has to come before it."""
        first = () if self._begun else (cygrpc.SendInitialMetadataOperation(None, PLAIN),)
        self._begun = True
        return first if message is None else (*first, cygrpc.SendMessageOperation(message, PLAIN))

    def _start(self, then: Callable[[Any], Happened], *operations: Any) -> bool:
        """``then`` hears when it is done; nothing is begun for who has gone."""
        with self._lock:
            if self._active:
                self._call.start_server_batch(operations, then)
                self._due += 1
            return self._active

    def _done(self, _: object = None) -> Happened:
        """Of what was begun: with the last of it, a call ends that has its status or has lost its caller."""
        with self._lock:
            self._due -= 1
            over = not self._due and (self._finished or not self._active)
        return (self, ()) if over else NOTHING

    def _received(self, then: "Then", event: Any) -> Happened:
        done = self._done()
        with self._lookout:
            self.attempt(then, event.batch_operations[0].message())
        return done

    def _closed(self, event: Any) -> Happened:
        with self._lock:
            self._active = not event.batch_operations[0].cancelled()
        return self._done()


Then = Callable[[Exchange, bytes | None], object]
Behave = Callable[[Any, Exchange], bytes]


def _answer(call: Exchange, behave: Behave, asked: Any) -> None:
    try:
        response = behave(asked, call)
    except Aborted:
        call.finish()
    else:
        call.finish(response)
