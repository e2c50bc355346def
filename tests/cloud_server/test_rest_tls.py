"""REST behind TLS: the same certificates as gRPC, and the same who is served."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trustme

from tests.cloud_server.conftest import Serve
from tests.ports import free_port


def status(port: int, authority: trustme.CA, client: trustme.LeafCert | None = None) -> int:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client:
        client.configure_cert(context)
    url = f"https://127.0.0.1:{port}/v2/health/ready"
    with urllib.request.urlopen(url, timeout=20, context=context) as answer:
        code: int = answer.status
        return code


def test_only_clients_of_the_authority_are_served(
    serve: Serve, models: dict[str, Path], tmp_path: Path
) -> None:
    authority, rogue = trustme.CA(), trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    cert, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    own.private_key_pem.write_to_path(str(key))
    own.cert_chain_pems[0].write_to_path(str(cert))
    authority.cert_pem.write_to_path(str(ca))
    port = free_port()
    tls = {"tls__cert": str(cert), "tls__key": str(key), "tls__client_ca": str(ca)}
    with serve(models["plain"], rest__port=port, **tls):
        assert status(port, authority, authority.issue_cert("client@example.org")) == 200
        for nobody in (None, rogue.issue_cert("client@example.org")):
            with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
                status(port, authority, nobody)
