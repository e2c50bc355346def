"""The files of ``[tls]``, read anew when they change: what is used is what was good last."""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from cloud_server.config import Tls
from cloud_server.errors import CertificateError
from protos.expiry import validity
from protos.reread import Reread

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Refused = Callable[[str], object]
"""Told the reason of every handshake that fails."""

_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_certificate",
    "CERTIFICATE_VERIFY_FAILED": "bad_certificate",
}


@dataclass(frozen=True)
class Loaded:
    """Files that belong together."""

    grpc: grpc.ServerCertificateConfiguration
    context: ssl.SSLContext
    authorities: "frozenset[Certificate]" = frozenset()
    """Of clients."""


class Certificates(Reread[Loaded]):
    """As they are now; ``CertificateError`` at the beginning names the file that is no good."""

    def __init__(self, tls: Tls) -> None:
        files = (tls.cert, tls.key, *([tls.client_ca] if tls.client_ca else []))
        super().__init__(files, lambda: _load(tls), CertificateError)
        self._mutual = tls.client_ca is not None

    def for_grpc(self, begun: Callable[[], object]) -> grpc.ServerCredentials:
        """TLS, mutual if there is an authority for clients. ``begun`` hears of every handshake."""
        given = self.value()

        def anew() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            begun()
            if (value := self.value()) is given:
                return None
            given = value
            return value.grpc

        return grpc.dynamic_ssl_server_credentials(given.grpc, anew, self._mutual)  # type: ignore[arg-type] # None: as before

    def for_asyncio(self, begun: Callable[[], object], refused: Refused) -> ssl.SSLContext:
        """The same for a server of asyncio's."""
        context = _Renewing(ssl.PROTOCOL_TLS_SERVER)
        context.certificates, context.begun, context.refused = self, begun, refused
        return context


class _Renewing(ssl.SSLContext):
    """Every connection gets the context of the files as they are then, and none gets another's sessions."""

    certificates: Certificates
    begun: Callable[[], object]
    refused: Refused

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self.begun()
        wrapped = self.certificates.value().context.wrap_bio(*args, **kwargs)
        wrapped.refused = self.refused  # type: ignore[attr-defined] # of a _Watched
        return wrapped


class _Watched(ssl.SSLObject):
    """A connection whose failed handshake is told."""

    refused: Refused

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.refused(_REASONS.get(error.reason, "handshake"))
            raise


def out_of_date(tls: Tls | None) -> CertificateError | None:
    """What is wrong if no client takes our own certificate now: it may be replaced while we serve."""
    if tls is None:
        return None
    begin, end = validity(tls.cert)
    if end <= time.time():
        problem = f"EXPIRED on {moment(end)}, and clients refuse it: put a new one in its place"
    elif begin > time.time():
        problem = f"NOT GOOD before {moment(begin)}, and clients refuse it until then: is the clock right?"
    else:
        return None
    return CertificateError(tls.cert, problem)


def moment(seconds: float) -> str:
    """A time, for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _load(tls: Tls) -> Loaded:
    cert, key = _read(tls.cert), _read(tls.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _Watched
    try:
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "")  # it would ask a terminal for one
    except (ssl.SSLError, OSError, ValueError) as error:
        raise CertificateError(tls.cert, f"is no certificate for the key {tls.key} ({error})") from None
    if tls.client_ca is None:
        return Loaded(grpc.ssl_server_certificate_configuration([(key, cert)]), context)
    authority = _read(tls.client_ca)
    try:
        context.load_verify_locations(tls.client_ca)
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(tls.client_ca, f"is no certificate authority ({error})") from None
    context.verify_mode = ssl.CERT_REQUIRED
    configuration = grpc.ssl_server_certificate_configuration([(key, cert)], authority)
    return Loaded(configuration, context, _authorities(tls.client_ca, authority))


def _authorities(path: Path, content: bytes) -> "frozenset[Certificate]":
    from cryptography import x509

    try:
        return frozenset(x509.load_pem_x509_certificates(content))
    except ValueError as error:
        raise CertificateError(path, f"is no certificate authority ({error})") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(path, (error.strerror or str(error)).lower()) from None
