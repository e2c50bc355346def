"""Bearer tokens: JSON Web Tokens by one algorithm and one issuer's key, for this server and a short time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cloud_server.access.names import checked
from cloud_server.config import Tokens
from cloud_server.errors import StartError, TokenKeyError, Unauthenticated
from protos.reread import Reread

REMEMBERED = 4096
"""Tokens whose signature is not looked at again."""
SKEW = 60.0
"""Seconds by which the issuer's clock may be ahead of ours."""
_REQUIRED = ["aud", "exp", "iat", "sub"]


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token names."""

    name: str
    until: float
    """Seconds since 1970."""


class Verifier(Reread[Callable[[str], Bearer]]):
    """Tells good tokens from others; ``TokenKeyError`` at the beginning if there is no key to do it by."""

    def __init__(self, settings: Tokens) -> None:
        try:
            import cryptography as _cryptography  # noqa: F401 - only whether it is there
            import jwt as _jwt  # noqa: F401
        except ImportError:
            raise StartError("[tokens] needs PyJWT: pip install 'tidegate[cloud]'") from None
        super().__init__([settings.key], lambda: _verifying(settings), TokenKeyError)

    def bearer(self, token: str) -> Bearer:
        """Whom it names; ``Unauthenticated`` says what is wrong with it."""
        found = self.value()(token)
        if found.until <= time.time():
            raise Unauthenticated("bad_token", "the token: signature has expired")
        return found


def _verifying(settings: Tokens) -> Callable[[str], Bearer]:
    """Forgets what it has seen with the key that it saw it by."""
    key_of = _keys(settings)
    return lru_cache(REMEMBERED)(lambda token: _bearer(settings, key_of, token))


def _bearer(settings: Tokens, key_of: Callable[[str], Any], token: str) -> Bearer:
    import jwt

    try:
        _require_canonical(token)
        claims = jwt.decode(
            token,
            key_of(token),
            algorithms=[settings.algorithm],
            audience=settings.audience,
            issuer=settings.issuer,
            options={"require": _REQUIRED, "verify_iat": False},  # a clock ahead of ours: see below
        )
        until, most = float(claims["exp"]), settings.lifetime
        if not (until - float(claims["iat"]) <= most and until - time.time() <= most + SKEW):
            raise ValueError(f"is good for longer than {most:g} seconds")  # noqa: TRY301
        if (name := checked(claims["sub"])) is None:
            raise ValueError("its subject is no name")  # noqa: TRY301
    except (jwt.PyJWTError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        problem = str(error)
        raise Unauthenticated("bad_token", f"the token: {problem[:1].lower()}{problem[1:200]}") from None
    return Bearer(name, until)


def _require_canonical(token: str) -> None:
    """One token has one spelling: Base64 leaves bits over that change nothing."""
    from jwt.utils import base64url_decode, base64url_encode

    for part in token.split("."):
        if base64url_encode(base64url_decode(part)) != part.encode():
            raise ValueError("is not spelt as Base64 is")


def _keys(settings: Tokens) -> Callable[[str], Any]:
    """Which key a token is to be verified by."""
    import jwt
    from jwt.algorithms import get_default_algorithms

    try:
        text = settings.key.read_bytes()
        if b"PRIVATE KEY" in text:
            raise ValueError("is a private key, which belongs to the issuer alone: give the public one")  # noqa: TRY301
        if text.lstrip().startswith(b"{"):
            return _chosen(settings, jwt.PyJWKSet.from_json(text.decode()))
        if settings.algorithm == "HS256" and len(text := text.strip()) < 32:
            raise ValueError("is shorter than 32 bytes: for HS256 that is too easily guessed")  # noqa: TRY301
        key = get_default_algorithms()[settings.algorithm].prepare_key(text)
    except OSError as error:
        raise TokenKeyError(settings.key, (error.strerror or str(error)).lower()) from None
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise TokenKeyError(settings.key, f"no key for {settings.algorithm}: {error}") from None
    return lambda _: key


def _chosen(settings: Tokens, found: Any) -> Callable[[str], Any]:
    """The key of a set that a token's ``kid`` names; a set of one needs no names."""
    import jwt

    keys = [it for it in found if it.algorithm_name == settings.algorithm]
    if not keys:
        raise ValueError("none of the set")
    if len(keys) == 1:
        return lambda _: keys[0]
    named = {it.key_id: it for it in keys if it.key_id}
    return lambda token: named[jwt.get_unverified_header(token).get("kid")]
