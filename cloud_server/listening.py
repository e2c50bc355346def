"""Whether an address may be listened on, and how."""

import ipaddress
import logging
import socket
import ssl
from pathlib import Path

import grpc

from cloud_server.config import CloudConfig, Tls
from cloud_server.errors import CertificateError, ListenError

held: set[int] = set()
"""Ports that a supervisor holds for its workers, of which this process is one."""

log = logging.getLogger(__name__)


def open_port(server: grpc.Server, config: CloudConfig) -> int:
    """Listen as configured; gives the port. ``ListenError`` or ``CertificateError`` if that cannot be."""
    host, port = config.server.host, config.server.port
    if trust := prepare(config):
        return server.add_secure_port(address(host, port), trust)
    return server.add_insecure_port(address(host, port))


def prepare(config: CloudConfig) -> grpc.ServerCredentials | None:
    """What to listen with, ``None`` for plaintext, once it is clear that we may and can listen."""
    require_private(config)
    require_free("server", config.server.host, config.server.port)
    return credentials(config.tls) if config.tls else None


def address(host: str, port: int) -> str:
    """``host:port``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def shared(port: int) -> bool:
    """Whether we have it together with our like; of any other a second server must not quietly get a part."""
    return port in held


def require_private(config: CloudConfig, section: str = "server", host: str | None = None) -> None:
    """Refuse to speak plaintext beyond this machine, unless told to."""
    host = host or config.server.host
    if config.tls or all(ipaddress.ip_address(ip).is_loopback for ip in _resolve(section, host)):
        return
    if not config.server.insecure:
        raise ListenError(
            section, host, "is reachable from other machines: give [tls] cert and key, or say --insecure"
        )
    log.warning("listening on %s WITHOUT ENCRYPTION OR LOGIN: whoever reaches it can use the models", host)


def require_free(section: str, host: str, port: int) -> None:
    """``ListenError`` says why the port cannot be had; the libraries that open it only say that."""
    if not shared(port):
        hold(section, host, port).close()


def hold(section: str, host: str, port: int) -> socket.socket:
    """A port that nobody else can have, bound and not listened on; ``ListenError`` if it cannot be had.

    Our own workers can: they share it.
    """
    family = socket.AF_INET6 if ":" in _resolve(section, host)[0] else socket.AF_INET
    holder = socket.socket(family)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((host, port))
    except OSError as error:
        holder.close()
        problem = (error.strerror or str(error)).lower()
        hint = f"set [{section}] host or port to another one; port 0 is any free one"
        raise ListenError(section, address(host, port), f"{problem}; {hint}") from None
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # not before: it may have to share, else
    return holder


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """TLS, mutual if a client authority is given; ``CertificateError`` names the file that is no good."""
    cert, key = _read(tls.cert), _read(tls.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(tls.cert, f"is no certificate for the key {tls.key} ({error})") from None
    if tls.client_ca is None:
        return grpc.ssl_server_credentials([(key, cert)])
    authority = _read(tls.client_ca)
    try:
        context.load_verify_locations(tls.client_ca)
    except ssl.SSLError as error:
        raise CertificateError(tls.client_ca, f"is no certificate authority ({error})") from None
    return grpc.ssl_server_credentials([(key, cert)], authority, require_client_auth=True)


def _resolve(section: str, host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(section, host, f"{error.strerror}".lower()) from None
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(path, (error.strerror or str(error)).lower()) from None
