"""Who calls is what the certificate says, and nothing that a caller can write: T2 of the threat table."""

import re
from collections.abc import Callable, Iterator
from itertools import permutations

import grpc
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_server.access import names
from cloud_server.errors import StartError
from tests.cloud_server.pems import Pems, common, leaf, trust
from tests.cloud_server.whoami import (
    Headers,
    Whoami,
    client_context,
    connection,
    over_http,
    posted,
    question,
    streamed,
    unary,
    whoami,
)

DEVICES = [f"device-{number}" for number in range(20)]
PROXY = "envoy"
Ask = Callable[[str, str, Headers], str]
"""Certificate, whom to pretend to be, headers -> whom the server takes it for."""


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    return Pems.made(tmp_path_factory.mktemp("pems"))


@pytest.fixture(scope="module")
def server(pems: Pems) -> Iterator[Whoami]:
    with whoami(tls=pems.tls(), access__proxy=PROXY) as running:
        yield running


@pytest.fixture(scope="module")
def channels(pems: Pems, server: Whoami) -> Iterator[dict[str, grpc.Channel]]:
    """A connection by each certificate."""
    target = f"127.0.0.1:{server.grpc_port}"
    certificates = {name: pems.issue(name) for name in (*DEVICES, PROXY)}
    opened = {
        name: grpc.secure_channel(target, trust(pems.ca, *files), [("grpc.use_local_subchannel_pool", 1)])
        for name, files in certificates.items()
    }
    yield opened
    for channel in opened.values():
        channel.close()


@pytest.fixture(params=["unary", "stream", "http"])
def ask(
    request: pytest.FixtureRequest, pems: Pems, server: Whoami, channels: dict[str, grpc.Channel]
) -> Iterator[Ask]:
    if request.param == "http":
        opened = {
            name: connection(
                server.http_port,
                client_context(pems.ca, pems.folder / f"{name}.pem", pems.folder / f"{name}-key.pem"),
            )
            for name in channels
        }
        yield lambda who, pretended, sent: posted(opened[who], question(pretended), sent)
        for each in opened.values():
            each.close()
        return
    call = unary if request.param == "unary" else streamed
    yield lambda who, pretended, sent: call(channels[who], question(pretended), sent)


def forged(pretended: str) -> Headers:
    """Everything in which somebody might look for a name."""
    return (
        ("authorization", f"Bearer {pretended}"),
        ("x-forwarded-client-cert", f'Hash=00;Subject="CN={pretended}"'),
        *((key, pretended) for key in ("identity", "x-client-id", "x-forwarded-for", "user-agent-id")),
    )


def test_no_device_passes_for_another(ask: Ask) -> None:
    taken = {(mine, other): ask(mine, other, forged(other)) for mine, other in permutations(DEVICES, 2)}
    assert len(taken) == 20 * 19
    assert {mine for mine, _ in taken} == set(DEVICES)
    assert [pair for pair, identity in taken.items() if identity != pair[0]] == []


def test_control_a_proxy_that_is_trusted_does_speak_for_others(ask: Ask) -> None:
    """The very header that no device gets anywhere with."""
    assert ask(PROXY, "anyone", forged("device-7")) == "device-7"


def test_the_proxy_itself_is_nobody(ask: Ask, server: Whoami) -> None:
    before = server.refused("nobody")
    assert ask(PROXY, "device-7", ()) in ("UNAUTHENTICATED", "401")
    assert server.refused("nobody") == before + 1


def test_of_two_headers_none_counts(ask: Ask) -> None:
    """The one that comes first is the caller's own, where a proxy only adds to it."""
    name = "x-forwarded-client-cert"
    sent = ((name, 'Subject="CN=device-1"'), (name, 'Subject="CN=device-2"'))
    assert ask(PROXY, "device-1", sent) in ("UNAUTHENTICATED", "401")


@pytest.mark.parametrize(
    ("forwarded", "name"),
    [
        ('By=spiffe://a;Hash=ab12;Subject="CN=b,O=c";URI=urn:device:7;DNS=d', "urn:device:7"),
        ("Hash=ab12;URI=urn:device:7;URI=urn:device:8;DNS=x;DNS=y", "urn:device:7"),
        ('Hash=ab12;Subject="CN=b";DNS=d.example', "d.example"),
        ('Hash=ab12;Subject="OU=x,CN=b,O=c"', "b"),
        ('Hash=ab12;Subject="CN=last,CN=first"', "first"),
        (r'Hash=ab12;Subject="O=x\,CN=victim,CN=b"', "b"),
        (r'Hash=ab12;Subject="CN=b,O=x\",URI=victim"', "b"),
        (r'Hash=ab12;Subject="O=x\,CN=victim"', None),
        ('Hash=ab12;Subject="CN=a+O=b"', None),
        ('Hash=1;Subject="CN=a",Hash=2;Subject="CN=b"', None),
        ("Hash=1;DNS=a;URI=urn:victim", None),
        ("Hash=1;DNS=a;Owner=b", None),
        ('Hash=1;Subject="O=x";URI=;DNS=cam-1', "cam-1"),
        ("Hash=1;URI=", None),
        ("Hash=1;URI=a b", None),
        ('Hash=1;Subject="CN=a', None),
        ("CN=a", None),
        ("", None),
    ],
)
def test_what_a_proxy_says(forwarded: str, name: str | None) -> None:
    assert names.in_header(forwarded) == name


@pytest.mark.parametrize(
    ("subject", "alternatives", "name"),
    [
        (("cn",), ("urn:device:a", "urn:device:b"), "urn:device:a"),
        (("cn",), ("d.example", "urn:device:a"), "urn:device:a"),
        (("cn",), ("d.example", "e.example"), "d.example"),
        (("cn", "other"), (), "cn"),
        ((), ("d.example",), "d.example"),
        (("a name",), (), None),
        (("device-1\x00x",), (), None),
        (("x",), ("device-1\x00.x",), None),
        (("x",), ("urn:device:1\x00",), None),
        (("device-1\\,x", "device-2"), (), None),
        (("device-1",), ("urn:device 2",), None),
        (("*",), (), None),
        (("d" * 60,), (f"urn:{'x' * 200}",), None),
    ],
)
def test_the_first_uri_else_the_first_dns_name_else_the_common_name(
    pems: Pems, server: Whoami, subject: tuple[str, ...], alternatives: tuple[str, ...], name: str | None
) -> None:
    """By the same rule over both protocols; what is no name is nobody's."""
    cert, key = leaf(
        pems.authority,
        common(*subject),
        *(
            x509.UniformResourceIdentifier(it) if it.startswith("urn:") else x509.DNSName(it)
            for it in alternatives
        ),
    )
    files = pems.folder / "leaf.pem", pems.folder / "leaf-key.pem"
    for file, content in zip(files, (cert, key), strict=True):
        file.write_bytes(content)
    with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", trust(pems.ca, *files)) as channel:
        assert unary(channel, question("x")) == (name or "UNAUTHENTICATED")
    assert over_http(server.http_port, client_context(pems.ca, *files), question("x")) == (name or "401")


@pytest.mark.parametrize("access", [{"proxy": "envoy"}, {"models": {"a": []}}, {"control": ["a"]}])
def test_rules_for_names_that_nobody_has(access: dict[str, object]) -> None:
    with pytest.raises(StartError, match=r"^\[access\]"), whoami(access=access):
        pass


def test_without_a_login_nobody_has_a_name() -> None:
    with (
        whoami() as running,
        grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
    ):
        assert unary(channel, question("a"), forged("a")) == "None"
        assert over_http(running.http_port, None, question("a"), forged("a")) == "None"


def test_what_could_be_taken_for_something_else_is_no_name() -> None:
    assert names.checked("spiffe://fleet.example/device/7") == "spiffe://fleet.example/device/7"
    assert [it for it in ("", "a\n", "a b", "*", "é", "a;b", "a,b", 'a"') if names.checked(it)] == []


ODD = st.text(st.sampled_from('ab;,="\\\\ \x00URICNDSujectHash+*/'), max_size=40)


@given(ODD, ODD)
@settings(max_examples=500, deadline=None)
def test_what_stands_before_a_name_never_becomes_one(before: str, name: str) -> None:
    """A subject that is escaped as RFC 2253 has it, whatever is in it."""
    escaped = re.sub(r'([,+"\\\\<>;])', r"\\\1", before).replace("\x00", "\\00")
    found = names.in_header(f'Hash=00;Subject="O={escaped},CN=me";URI=')
    assert found == "me"
    forwarded = names.in_header(name)
    assert forwarded is None or names.checked(forwarded) == forwarded
