"""The one rule by which a certificate names its holder.

The first URI among its subject's alternative names; without one the first DNS name there; without
one the subject's first common name. Whatever is in a request is no name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import inf

_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,200}")
_FIELD = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,="]*)(?:;|$)')
_WHOLE = re.compile(f"(?:{_FIELD.pattern})+")
_ORDER = " By Hash Cert Chain Subject URI DNS "
"""Of the fields, as Envoy writes them."""
_PARTS = re.compile(r"(?:[^,\\]|\\.)+")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a caller's own certificate says."""

    name: str | None
    """``None``: nothing that names anybody."""
    until: float = inf
    """Seconds since 1970 at which it expires."""


def checked(name: str) -> str | None:
    """The name, if it is one: letters, digits and ``._:/@-``, 200 at most."""
    return name if _NAME.fullmatch(name) else None


@lru_cache(1024)
def in_certificate(content: bytes) -> Shown:
    """From a certificate that has been verified, as DER or PEM; what cannot be read names nobody.

    Whole, and not from what gRPC says of it, which is cut off at a NUL.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    pem = content.startswith(b"-----")
    try:
        certificate = (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(content)
        every = [it.value for it in certificate.extensions]
        names = [it for it in every if isinstance(it, x509.SubjectAlternativeName)]
        name = _first(
            (uri for it in names for uri in it.get_values_for_type(x509.UniformResourceIdentifier)),
            (dns for it in names for dns in it.get_values_for_type(x509.DNSName)),
            (str(it.value) for it in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
        )
        return Shown(name, certificate.not_valid_after_utc.timestamp())
    except ValueError:
        return Shown(None)


def in_header(forwarded: str) -> str | None:
    """From the one certificate in a proxy's ``x-forwarded-client-cert``; ``None`` if it names nobody."""
    found = [(key, value.strip('"')) for key, value in _FIELD.findall(forwarded)]
    places = [_ORDER.find(f" {key} ") for key, _ in found]
    if not _WHOLE.fullmatch(forwarded) or -1 in places or places != sorted(places):
        return None  # not what a proxy writes: something of a name's own may stand in it
    return _first(
        (value for key, value in found if key == "URI" and value),  # empty: the certificate has none
        (value for key, value in found if key == "DNS" and value),
        (name for key, value in found if key == "Subject" for name in _common_names(value)),
    )


def _common_names(subject: str) -> list[str]:
    """Of a subject as RFC 2253 writes it, which is last to first."""
    parts = _PARTS.findall(subject)
    return [part.removeprefix("CN=") for part in reversed(parts) if part.startswith("CN=")]


def _first(*kinds: Iterable[str]) -> str | None:
    return next((checked(name) for names in kinds for name in names), None)
