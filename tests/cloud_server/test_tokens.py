"""Bearer tokens: who is let in by one, and every way in which one may be no good. T5 of the threat table."""

import base64
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_server import config
from cloud_server.access import names
from cloud_server.access.callers import Login
from cloud_server.access.tokens import Verifier, _bearer
from cloud_server.config import Tokens
from cloud_server.errors import StartError, TokenKeyError, Unauthenticated
from cloud_server.metrics import Meter
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.cloud_server.pems import Pems, trust
from tests.cloud_server.process import PATIENCE
from tests.cloud_server.whoami import (
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

KEY = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()
SECRET = "s" * 40
REFUSED = {"UNAUTHENTICATED", "401"}


def public(key: Any) -> bytes:
    """Its public half, as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return pem


def private(key: Any) -> bytes:
    form, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, form, open_)
    return pem


def claims(**changed: Any) -> dict[str, Any]:
    """Of a good token; ``None`` leaves one out."""
    now = int(time.time())
    good = {"sub": "device-7", "aud": "tidegate", "iat": now, "exp": now + 600}
    return {name: value for name, value in (good | changed).items() if value is not None}


def minted(key: Any = KEY, algorithm: str = "EdDSA", headers: Any = None, **changed: Any) -> str:
    """As an issuer makes one: this line is what the documentation shows."""
    return jwt.encode(claims(**changed), key, algorithm, headers)


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    return Pems.made(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def server(pems: Pems) -> Iterator[Whoami]:
    (pems.folder / "issuer.pem").write_bytes(public(KEY))
    tokens = {"key": str(pems.folder / "issuer.pem")}
    with whoami(tls=pems.tls(mutual=False), tokens=tokens) as running:
        yield running


@pytest.fixture(scope="module")
def channel(pems: Pems, server: Whoami) -> Iterator[grpc.Channel]:
    with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", trust(pems.ca)) as channel:
        yield channel


def bearer(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


def everywhere(pems: Pems, server: Whoami, channel: grpc.Channel, token: str) -> set[str]:
    """Whom the server takes its bearer for, by each protocol."""
    asked, sent = question("somebody-else"), bearer(token)
    context = client_context(pems.ca)
    return {
        unary(channel, asked, sent),
        streamed(channel, asked, sent),
        over_http(server.http_port, context, asked, sent),
    }


def test_its_subject_is_the_identity(pems: Pems, server: Whoami, channel: grpc.Channel) -> None:
    assert everywhere(pems, server, channel, minted()) == {"device-7"}
    assert everywhere(pems, server, channel, minted(aud=["other", "tidegate"])) == {"device-7"}


def soon() -> int:
    return int(time.time())


DEEP = base64.urlsafe_b64encode(b"[" * 2400).rstrip(b"=").decode()
BAD: dict[str, Callable[[], str]] = {
    "expired": lambda: minted(exp=soon() - 1, iat=soon() - 600),
    "for-another-server": lambda: minted(aud="another"),
    "for-nobody": lambda: minted(aud=None),
    "without-end": lambda: minted(exp=None),
    "without-beginning": lambda: minted(iat=None),
    "without-subject": lambda: minted(sub=None),
    "not-yet": lambda: minted(nbf=soon() + 300),
    "good-for-too-long": lambda: minted(exp=soon() + 3700),
    "from-the-future": lambda: minted(iat=soon() + 86_400, exp=soon() + 86_460),
    "endless": lambda: minted(exp=float("inf")),
    "named-like-nobody": lambda: minted(sub="a b"),
    "named-like-all": lambda: minted(sub="*"),
    "without-a-name": lambda: minted(sub=""),
    "by-another-issuer": lambda: minted(OTHER),
    "unsigned": lambda: minted(None, "none"),
    "unsigned-by-hand": lambda: f"{part({'alg': 'none'})}.{part(claims())}.",
    "unsigned-in-disguise": lambda: f"{part({'alg': 'nOnE', 'typ': 'JWT'})}.{part(claims())}.AAAA",
    "signature-left-out": lambda: f"{part({'alg': 'EdDSA'})}.{part(claims())}.",
    "public-key-as-secret": lambda: minted(base64.b64encode(public(KEY)), "HS256"),
    "nested-deeply": lambda: f"{DEEP}.{DEEP}.AAAA",
    "no-token": lambda: "x",
    "dots": lambda: "..",
    "spaces": lambda: "a b.c d.e f",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_lets_nobody_in(pems: Pems, server: Whoami, channel: grpc.Channel, name: str) -> None:
    assert everywhere(pems, server, channel, BAD[name]()) <= REFUSED


def test_no_flipped_bit_goes_unnoticed(server: Whoami, pems: Pems) -> None:
    """Every bit of a token, by the verifier; a hundred of them by the server."""
    token, verifier = minted(), Verifier(Tokens(key=pems.folder / "issuer.pem"))
    assert verifier.bearer(token).name == "device-7"
    flipped = [
        token[:at] + chr(ord(token[at]) ^ 1 << bit) + token[at + 1 :]
        for at in range(len(token))
        for bit in range(7)
    ]
    accepted = []
    for changed in flipped:
        try:
            accepted.append(verifier.bearer(changed))
        except Unauthenticated:
            continue
    assert accepted == []
    opened = connection(server.http_port, client_context(pems.ca))
    sendable = [it for it in flipped if it.isprintable()]
    before = server.refused("bad_token")
    chosen = random.Random(0).sample(sendable, 100)
    assert {posted(opened, question("x"), bearer(it)) for it in chosen} == {"401"}
    assert server.refused("bad_token") == before + 100
    assert posted(opened, question("x"), bearer(token)) == "device-7"
    opened.close()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["sub", "aud", "iat", "exp", "nbf", "iss", "jti", "crit"]), ANYTHING))
@settings(max_examples=200, deadline=None)
def test_whatever_an_issuer_signs_is_a_good_token_or_none(changed: dict[str, Any]) -> None:
    """Nothing else comes of it: no error of ours, no name that is none."""
    try:
        token = jwt.api_jws.encode(json.dumps(claims(**changed)).encode(), KEY, "EdDSA")
        found = _bearer(Tokens(key=Path()), lambda _: KEY.public_key(), token)
    except Unauthenticated:
        return
    assert names.checked(found.name) == found.name
    assert 0 < found.until - time.time() <= 3600


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,30}\.[\w-]{0,30}\.[\w-]{0,30}", fullmatch=True))
@settings(max_examples=200, deadline=None)
def test_whatever_else_is_sent_is_no_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        _bearer(Tokens(key=Path()), lambda _: KEY.public_key(), text)


@pytest.mark.parametrize(
    "sent",
    [
        (),
        (("authorization", "Basic ZGV2aWNlOjc="),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (*bearer(minted()), *bearer(minted())),
    ],
)
def test_without_a_token_nobody_is_let_in(
    pems: Pems, server: Whoami, channel: grpc.Channel, sent: tuple[tuple[str, str], ...]
) -> None:
    before, asked = server.refused("no_token"), question("device-7")
    assert unary(channel, asked, sent) == "UNAUTHENTICATED"
    assert streamed(channel, asked, sent) == "UNAUTHENTICATED"
    assert over_http(server.http_port, client_context(pems.ca), asked, sent) == "401"
    assert server.refused("no_token") == before + 3


def test_a_stream_ends_with_the_token_that_opened_it(server: Whoami, channel: grpc.Channel) -> None:
    before, expires = server.refused("expired"), int(time.time()) + 8

    def requests() -> Iterator[Any]:
        yield question("x")
        while time.time() <= expires:
            time.sleep(0.1)
        yield question("x")

    stream = GRPCInferenceServiceStub(channel).ModelStreamInfer(
        requests(), timeout=PATIENCE, metadata=bearer(minted(exp=expires))
    )
    assert "you are device-7" in next(stream).error_message
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    refusal: Any = caught.value
    assert refusal.code() is grpc.StatusCode.UNAUTHENTICATED
    assert server.refused("expired") == before + 1


def verifier(folder: Path, content: bytes, **changed: Any) -> Verifier:
    (folder / "key").write_bytes(content)
    return Verifier(Tokens(key=folder / "key", **changed))


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("EdDSA", KEY),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("RS256", rsa.generate_private_key(65537, 2048)),
    ],
)
def test_each_algorithm(tmp_path: Path, algorithm: Any, key: Any) -> None:
    assert verifier(tmp_path, public(key), algorithm=algorithm).bearer(minted(key, algorithm)).name


def test_a_secret_of_both_sides(tmp_path: Path) -> None:
    checks = verifier(tmp_path, f"{SECRET}\n".encode(), algorithm="HS256")
    assert checks.bearer(minted(SECRET, "HS256")).name == "device-7"
    with pytest.raises(Unauthenticated):
        checks.bearer(minted("t" * 40, "HS256"))
    with pytest.raises(Unauthenticated, match="alg"):
        checks.bearer(minted(SECRET * 2, "HS512"))


def test_an_issuer_that_is_named_must_be_it(tmp_path: Path) -> None:
    checks = verifier(tmp_path, public(KEY), issuer="us")
    assert checks.bearer(minted(iss="us"))
    for iss in ("them", None):
        with pytest.raises(Unauthenticated):
            checks.bearer(minted(iss=iss))


def key_set(**keys: Any) -> bytes:
    form = jwt.algorithms.OKPAlgorithm
    listed = [{**form.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in keys.items()]
    return json.dumps({"keys": listed}).encode()


def test_a_set_of_keys(tmp_path: Path) -> None:
    checks = verifier(tmp_path, key_set(old=KEY, new=OTHER))
    assert checks.bearer(minted(KEY, headers={"kid": "old"}))
    assert checks.bearer(minted(OTHER, headers={"kid": "new"}))
    for headers in ({"kid": "new"}, {"kid": "absent"}, None):
        with pytest.raises(Unauthenticated):
            checks.bearer(minted(KEY, headers=headers))


def test_another_key_in_the_file_counts_at_once(tmp_path: Path) -> None:
    """Of those that were seen already, too; a file that is no key changes nothing."""
    checks, token = verifier(tmp_path, public(KEY)), minted()
    assert checks.bearer(token)
    (tmp_path / "key").write_text("no key")
    assert checks.bearer(token)
    (tmp_path / "key").write_bytes(public(OTHER))
    with pytest.raises(Unauthenticated):
        checks.bearer(token)
    assert checks.bearer(minted(OTHER))


@pytest.mark.parametrize(
    ("content", "algorithm", "problem"),
    [
        (b"no key", "EdDSA", "no key for EdDSA"),
        (private(KEY), "EdDSA", "a private key"),
        (public(ec.generate_private_key(ec.SECP256R1())), "EdDSA", "no key for EdDSA"),
        (b"short", "HS256", "shorter than 32 bytes"),
        (public(KEY), "HS256", "no key for HS256"),
        (b'{"keys": []}', "EdDSA", "no key for EdDSA"),
        (key_set(only=KEY), "ES256", "none of the set"),
        (b"{", "EdDSA", "no key for EdDSA"),
    ],
)
def test_a_file_that_holds_no_key_of_that_kind(
    tmp_path: Path, content: bytes, algorithm: Any, problem: str
) -> None:
    with pytest.raises(TokenKeyError, match=problem) as caught:
        verifier(tmp_path, content, algorithm=algorithm)
    assert str(tmp_path / "key") in str(caught.value)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(TokenKeyError, match="no such file"):
        Verifier(Tokens(key=tmp_path / "absent"))


@pytest.fixture(scope="module")
def bound(pems: Pems) -> Iterator[Whoami]:
    """A server that wants a certificate and a token."""
    (pems.folder / "issuer.pem").write_bytes(public(KEY))
    tokens = {"key": str(pems.folder / "issuer.pem")}
    with whoami(tls=pems.tls(), tokens=tokens, access__proxy="envoy") as running:
        yield running


@pytest.mark.parametrize(
    ("holder", "subject", "passed_on"),
    [
        ("device-7", "device-7", None),
        ("envoy", "device-7", None),
        ("envoy", "device-7", "device-7"),
        pytest.param("device-8", "device-7", None, id="stolen"),
        pytest.param("device-8", "device-7", "device-7", id="stolen-with-a-header"),
        pytest.param("envoy", "device-7", "device-8", id="stolen-behind-a-proxy"),
        pytest.param("envoy", None, "device-7", id="none"),
    ],
)
def test_beside_a_certificate_a_token_is_good_for_its_holder_alone(
    pems: Pems, bound: Whoami, holder: str, subject: str | None, passed_on: str | None
) -> None:
    """Stolen from one device, it is of no use to another; a proxy carries it for anybody."""
    sent = bearer(minted(sub=subject)) if subject else ()
    if passed_on:
        sent = (*sent, ("x-forwarded-client-cert", f'Subject="CN={passed_on}"'))
    good = holder in (subject, "envoy") and subject and passed_on in (None, subject)
    with grpc.secure_channel(f"127.0.0.1:{bound.grpc_port}", trust(pems.ca, *pems.issue(holder))) as channel:
        assert unary(channel, question("x"), sent) == ("device-7" if good else "UNAUTHENTICATED")


def test_an_unreadable_certificate_beside_a_token_is_nobodys(tmp_path: Path, pems: Pems) -> None:
    (tmp_path / "key").write_bytes(public(KEY))
    login = Login(config.load(None, {"tls": pems.tls(), "tokens.key": str(tmp_path / "key")}), Meter())
    scope = {
        "state": {"certificate": b"no certificate"},
        "headers": [(b"authorization", f"Bearer {minted()}".encode())],
    }
    with pytest.raises(Unauthenticated, match="not the certificate's holder's"):
        login.of_http(scope)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jwt", None)
    with pytest.raises(StartError, match="pip install"):
        Verifier(Tokens(key=tmp_path / "key"))
