"""Whether an address may be listened on, and how."""

import ipaddress
import logging
import socket
from collections.abc import Callable
from itertools import combinations, product

import grpc

from cloud_server.access.certificates import Certificates
from cloud_server.config import CloudConfig, Dashboard, Health, Metrics, Rest, Server
from cloud_server.errors import ListenError

held: set[int] = set()
"""Ports that a supervisor holds for its workers, of which this process is one."""

log = logging.getLogger(__name__)

_Listener = Server | Rest | Health | Metrics | Dashboard
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def open_port(
    server: grpc.Server, config: CloudConfig, certificates: Certificates | None, begun: Callable[[], object]
) -> int:
    """Listen as configured; gives the port. ``begun`` hears of every TLS handshake.

    ``ListenError`` if that cannot be.
    """
    prepare(config)
    listened = address(config.server.host, config.server.port)
    if certificates is None:
        return server.add_insecure_port(listened)
    return server.add_secure_port(listened, certificates.for_grpc(begun))


def prepare(config: CloudConfig) -> None:
    """``ListenError`` if we may not, or cannot, listen."""
    require_private(config)
    require_free("server", config.server.host, config.server.port)


def address(host: str, port: int) -> str:
    """``host:port``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def shared(port: int) -> bool:
    """Whether we have it together with our like; of any other a second server must not quietly get a part."""
    return port in held


def require_private(config: CloudConfig, section: str = "server", host: str | None = None) -> None:
    """Refuse to serve beyond this machine whoever comes, or in plaintext, unless told to."""
    host, tls = host or config.server.host, config.tls
    login = tls is not None and bool(tls.client_ca or config.tokens)
    if login or all(ipaddress.ip_address(ip).is_loopback for ip in _resolve(section, host)):
        return
    if not config.server.insecure:
        raise ListenError(
            section,
            host,
            "is reachable from other machines: give [tls] cert and key, with client_ca or [tokens] for a "
            "login, or say --insecure",
        )
    missing = "LOGIN" if tls else "ENCRYPTION" if config.tokens else "ENCRYPTION OR LOGIN"
    log.warning("listening on %s WITHOUT %s: %s", host, missing, _RISKS[missing])


_RISKS = {
    "LOGIN": "whoever reaches it can use the models",
    "ENCRYPTION": "whoever listens in has the tokens, and with them the models",
    "ENCRYPTION OR LOGIN": "whoever reaches it can use the models",
}


def require_apart(config: CloudConfig) -> None:
    """``ListenError`` if two of our own ports could not be had together."""
    for (one, first), (other, second) in combinations(_listeners(config).items(), 2):
        if first.port and first.port == second.port and _meet((one, first.host), (other, second.host)):
            raise ListenError(
                other,
                address(second.host, second.port),
                f"{one}.port is the same: set {other}.port or {one}.port to another one; port 0 is any "
                "free one",
            )


def _listeners(config: CloudConfig) -> dict[str, _Listener]:
    """What will listen, by its section."""
    of_models = {"server": config.server, "rest": config.rest, "health": config.health}
    of_all = {"metrics": config.metrics, "dashboard": config.dashboard}
    every = {**(of_models if config.serves_models else {}), **of_all}
    return {section: settings for section, settings in every.items() if settings}


def _meet(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether the hosts of two sections have an address in common."""
    addresses = [[ipaddress.ip_address(ip) for ip in _resolve(*named)] for named in (one, other)]
    return any(a == b or _covers(a, b) or _covers(b, a) for a, b in product(*addresses))


def _covers(every: _Ip, one: _Ip) -> bool:
    """IPv6's address of all takes IPv4's ports as well."""
    return every.is_unspecified and every.version >= one.version


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


def _resolve(section: str, host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(section, host, f"{error.strerror}".lower()) from None
    return [str(sockaddr[0]) for *_, sockaddr in found]
