"""HTTP/1.1 connections: who only connects holds a descriptor and nothing else, and that not for ever."""

from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256
"""Connections at once: for one more, the one that has waited for longest without a request goes."""
SILENCE = 30
"""Seconds within which the head of a request has to be there, from the beginning or from the last answer."""


class Connection(H11Protocol):
    """One that tells the application what certificate its caller has."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn's
        """As in uvicorn."""
        encrypted = transport.get_extra_info("ssl_object")
        shown = encrypted and encrypted.getpeercert(binary_form=True)
        self.app_state = {**self.app_state, "certificate": shown}
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST:
            _drop_oldest(self.connections)

    def on_response_complete(self) -> None:
        """As in uvicorn."""
        super().on_response_complete()
        self._late.cancel()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """As in uvicorn."""
        super().connection_lost(exc)
        self._late.cancel()

    @property
    def waits(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        """For a request, from now on; what comes of one by and by does not prolong it."""
        self.since = self.loop.time()
        self._late = self.loop.call_later(SILENCE, self._end)

    def _end(self) -> None:
        if not self.waits:
            return
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # closing waits for who reads no answers
        else:
            self.timeout_keep_alive_handler()


def _drop_oldest(connections: set[Any]) -> None:
    oldest = min((it for it in connections if it.waits), key=lambda it: it.since)
    connections.discard(oldest)
    oldest.transport.abort()
