"""Who calls, by certificate or token and by nothing else."""

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import grpc

from cloud_server.access import names
from cloud_server.access.authorities import Authorities
from cloud_server.access.certificates import Certificates
from cloud_server.access.names import Shown
from cloud_server.config import CloudConfig
from cloud_server.errors import StartError, Unauthenticated
from cloud_server.metrics import Meter

OPEN = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}
"""Answered to whoever gets a connection: a probe has no token, and a proxy asks in nobody's name."""
TOKEN, FORWARDED = "authorization", "x-forwarded-client-cert"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has shown that they are that."""

    identity: str | None = None
    """``None``: nobody in particular."""
    until: float = inf
    """Seconds since 1970 at which what was shown expires."""
    certificate: bytes | None = field(default=None, repr=False)
    """Its own, or the proxy's."""


NOBODY = Caller()
_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


current = _caller.get
"""Whose call is being answered here and now."""


class Acting:
    """What is done inside is done for them."""

    def __init__(self, caller: Caller) -> None:
        self._doer = caller

    def __enter__(self) -> None:
        self._token = _caller.set(self._doer)

    def __exit__(self, *_: object) -> None:
        _caller.reset(self._token)


class Login:
    """Finds out who calls."""

    def __init__(self, config: CloudConfig, meter: Meter) -> None:
        self._meter, self._proxy = meter, config.access.proxy
        self._mutual = config.tls is not None and config.tls.client_ca is not None
        self.required = self._mutual or config.tokens is not None
        _require_sense(config, named=self.required, mutual=self._mutual)
        self.certificates = Certificates(config.tls) if config.tls else None
        self._authorities = Authorities(self.certificates) if self.certificates else None
        self._tokens = None
        if config.tokens:
            from cloud_server.access.tokens import Verifier

            self._tokens = Verifier(config.tokens)

    def of_grpc(self, context: grpc.ServicerContext) -> Caller:
        """Who calls over gRPC; ``Unauthenticated`` says what is missing."""
        if not self.required:
            return NOBODY
        shown: Any = context.auth_context().get("x509_pem_cert", ()) if self._mutual else ()
        sent: dict[str, list[str]] = {}
        for key, value in context.invocation_metadata():
            if key in (TOKEN, FORWARDED):
                sent.setdefault(key, []).append(str(value))
        return self._told(next(iter(shown), None), sent)

    def of_http(self, scope: Mapping[str, Any]) -> Caller:
        """Who calls over HTTP, by an ASGI scope; ``Unauthenticated`` says what is missing."""
        if not self.required:
            return NOBODY
        shown = scope["state"]["certificate"] if self._mutual else None
        sent: dict[str, list[str]] = {}
        for key, value in scope["headers"]:
            if (name := key.decode("latin-1")) in (TOKEN, FORWARDED):
                sent.setdefault(name, []).append(value.decode("latin-1"))
        return self._told(shown, sent)

    def require_current(self, caller: Caller) -> None:
        """``Unauthenticated`` if what was shown has expired since, or is trusted no more."""
        if caller.until <= time.time():
            problem = "the certificate or token has expired: call with another one"
        elif self._authorities and caller.certificate and self._authorities.withdrawn(caller.certificate):
            problem = "the certificate's authority is trusted no more: connect with another certificate"
        else:
            return
        self.refused("expired")
        raise Unauthenticated("expired", problem)

    def refused(self, reason: str) -> None:
        """Count a caller who is not let in."""
        self._meter.refused_callers.labels(reason).inc()

    def _told(self, certificate: bytes | None, sent: Mapping[str, Sequence[str]]) -> Caller:
        shown = names.in_certificate(certificate) if certificate else None
        try:
            caller = replace(self._caller(shown, sent), certificate=certificate)
        except Unauthenticated as error:
            self.refused(error.reason)
            raise
        self.require_current(caller)
        return caller

    def _caller(self, shown: Shown | None, sent: Mapping[str, Sequence[str]]) -> Caller:
        until = shown.until if shown else inf
        passed_on = self._proxy is not None and shown is not None and shown.name == self._proxy
        name = _forwarded(sent.get(FORWARDED, ())) if passed_on else shown.name if shown else None
        if self._tokens is None:
            if name is None:
                raise Unauthenticated("nobody", _NOBODY[passed_on])
            return Caller(name, until)
        bearer = self._tokens.bearer(_token(sent.get(TOKEN, ())))
        if name not in (None, bearer.name) or (self._mutual and name is None and not passed_on):
            raise Unauthenticated("bad_token", "the token: it is not the certificate's holder's")
        return Caller(bearer.name, min(until, bearer.until))


_NOBODY = {
    False: "the certificate names nobody: it needs a URI, a DNS name or a common name, of letters, digits "
    "and ._:/@-",
    True: "the proxy passed nobody on: in x-forwarded-client-cert there is to be one certificate, and its "
    "URI, DNS or Subject",
}


def _forwarded(sent: Sequence[str]) -> str | None:
    """Whom the proxy names; of several, which only a caller can have written, nobody."""
    return names.in_header(sent[0]) if len(sent) == 1 else None


def _token(sent: Sequence[str]) -> str:
    if len(sent) != 1:
        raise Unauthenticated("no_token", "one token is needed: send authorization: Bearer TOKEN")
    scheme, _, token = sent[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("no_token", "no token: send authorization: Bearer TOKEN")
    return token


def _require_sense(config: CloudConfig, *, named: bool, mutual: bool) -> None:
    """``StartError`` of rules that could never hold."""
    if not named and (config.access.models or config.access.control):
        raise StartError(
            "[access] names callers, and nobody here has a name: set [tls] client_ca, or [tokens]"
        )
    if config.access.proxy and not mutual:
        raise StartError("[access] proxy: nothing shows that a caller is that proxy: set [tls] client_ca")
