"""A real Envoy before the server: whom it passes on is whom the server would have seen itself."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from deploy.demo.processes import wait_until
from tests.cloud_server.pems import Pems, common, leaf, trust
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.whoami import question, streamed, unary, whoami
from tests.ports import free_port
from tests.services import require

TYPE = "type.googleapis.com/envoy.extensions"
HTTP2 = "upstreams.http.v3.HttpProtocolOptions"


def organised(organisation: str) -> x509.Name:
    """A subject that puts something before its common name, which is ``me``."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, "me"),
        ]
    )


CASES: dict[str, tuple[x509.Name, tuple[x509.GeneralName, ...], str | None]] = {
    "uri": (
        common("cn"),
        (x509.DNSName("d.example"), x509.UniformResourceIdentifier("urn:device:7")),
        "urn:device:7",
    ),
    "dns": (common("cn"), (x509.DNSName("d.example"), x509.DNSName("e.example")), "d.example"),
    "common name": (common("first", "last"), (), "first"),
    "comma": (organised("x,CN=victim"), (), "me"),
    "quote": (organised('x";URI=urn:victim;DNS="'), (), "me"),
    "backslash": (organised('x\\";URI=urn:victim'), (), "me"),
    "element": (organised('x",Hash=1;Subject="CN=victim'), (), "me"),
    "semicolon": (common("me"), (x509.DNSName("x;URI=urn:victim"),), None),
    "elements": (common("me"), (x509.DNSName("x,Hash=1;URI=urn:victim"),), None),
    "nul": (common("victim\x00x"), (), None),
}


def tls(kind: str, cert: Path, key: Path, authority: str, **more: object) -> dict[str, object]:
    """Of one side of the proxy."""
    common_context = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {"certificate_chain": {"filename": str(cert)}, "private_key": {"filename": str(key)}}
        ],
        "validation_context": {"trusted_ca": {"filename": authority}},
    }
    context = {"@type": f"{TYPE}.transport_sockets.tls.v3.{kind}", "common_tls_context": common_context}
    return {"name": "tls", "typed_config": {**context, **more}}


def settings(port: int, upstream: int, pems: Pems, authority: str) -> dict[str, object]:
    """From ``port`` to ``upstream``, with what the server needs to know who calls."""
    files = pems.issue("envoy")
    router = {"name": "router", "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "it"}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "it",
        "codec_type": "HTTP2",
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
        "http_filters": [router],
        "route_config": {"virtual_hosts": hosts},
    }
    chain = {
        "filters": [{"name": "http", "typed_config": manager}],
        "transport_socket": tls("DownstreamTlsContext", *files, authority, require_client_certificate=True),
    }
    cluster = {
        "name": "it",
        "transport_socket": tls("UpstreamTlsContext", *files, authority),
        "typed_extension_protocol_options": {
            f"envoy.extensions.{HTTP2}": {
                "@type": f"{TYPE}.{HTTP2}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "it",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _at(upstream)}}]}],
        },
    }
    listener = {"address": _at(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _at(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    return Pems.made(tmp_path_factory.mktemp("envoy"))


@pytest.fixture(scope="module")
def ports(pems: Pems) -> Iterator[tuple[int, int]]:
    """Of the proxy and of the server behind it."""
    files, port = pems.tls(), free_port()
    with whoami(tls=files, access__proxy="envoy") as server:
        path = pems.folder / "envoy.json"
        path.write_text(json.dumps(settings(port, server.grpc_port, pems, files["client_ca"])))
        command: list[str | Path] = [require("envoy"), "-c", path, "-l", "error", "--use-dynamic-base-id"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as envoy:
            try:
                device = trust(pems.ca, *pems.issue("device"))
                with grpc.secure_channel(f"127.0.0.1:{port}", device) as channel:
                    assert wait_until(lambda: unary(channel, question("x")) == "device", PATIENCE)
                yield port, server.grpc_port
            finally:
                envoy.terminate()


@pytest.mark.parametrize("case", CASES)
def test_a_caller_has_the_same_name_behind_it(pems: Pems, ports: tuple[int, int], case: str) -> None:
    subject, alternatives, name = CASES[case]
    files = pems.folder / "it.pem", pems.folder / "it-key.pem"
    for file, content in zip(files, leaf(pems.authority, subject, *alternatives), strict=True):
        file.write_bytes(content)
    forged = (("x-forwarded-client-cert", "Hash=1;URI=urn:victim"),)
    for port in ports:
        target, local = f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(target, trust(pems.ca, *files), local) as channel:
            taken = {call(channel, question("x"), forged) for call in (unary, streamed)}
        assert taken == {name or "UNAUTHENTICATED"}
