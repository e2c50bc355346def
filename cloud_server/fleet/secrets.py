"""Files that hold what the fleet's part logs in with; ``SecretError`` names the one that is no good."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud_server.config import BrokerTls
from cloud_server.errors import SecretError


def password(path: Path | None) -> str | None:
    """What the file holds; nothing without a file."""
    if path is None:
        return None
    with _named(path):
        return path.read_text().strip()


def trust(tls: BrokerTls) -> ssl.SSLContext:
    """Whom to believe, and who to be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with _named(tls.ca):
        context.load_verify_locations(tls.ca)
    if tls.cert:
        with _named(tls.key or tls.cert):
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")  # it would ask a terminal for one
    return context


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise SecretError(path, f"cannot be used for TLS ({error.reason or error})") from None
    except OSError as error:
        raise SecretError(path, (error.strerror or str(error)).lower()) from None
    except ValueError as error:
        raise SecretError(path, str(error)) from None
