"""From when until when a certificate is good: said by both sides, and asked for by one alert."""

import ssl
from datetime import UTC, datetime
from math import nan
from pathlib import Path

_UTC_TIME, _GENERALIZED_TIME, _SEQUENCE = 0x17, 0x18, 0x30
"""ASN.1 tags."""
_END = "-----END CERTIFICATE-----"


def expiry(path: Path | None) -> float:
    """Seconds since 1970 at which the first of the certificates in a PEM file expires; NaN if it has none."""
    return validity(path)[1]


def validity(path: Path | None) -> tuple[float, float]:
    """From when until when all certificates in a PEM file are good, as ``expiry``."""
    try:
        chain = path.read_text().split(_END)[:-1] if path else []
        spans = [_validity(ssl.PEM_cert_to_DER_cert(_trim(it))) for it in chain]
    except (OSError, ValueError, IndexError):
        spans = []
    return max((begin for begin, _ in spans), default=nan), min((end for _, end in spans), default=nan)


def _trim(text: str) -> str:
    """From the beginning of a certificate on: a file may say before it in words what it is."""
    return text[text.index("-----BEGIN CERTIFICATE-----") :] + _END


def _validity(der: bytes) -> tuple[float, float]:
    """Certificate > TBSCertificate > Validity, RFC 5280: Python's ssl tells it of peers only."""
    fields = _children(_children(_children(der)[0][1])[0][1])
    for tag, content in fields:
        if tag == _SEQUENCE and {kind for kind, _ in _children(content)} <= {_UTC_TIME, _GENERALIZED_TIME}:
            begin, end = _children(content)
            return _seconds(*begin), _seconds(*end)
    raise ValueError


def _seconds(kind: int, text: bytes) -> float:
    form = "%y%m%d%H%M%SZ" if kind == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode(), form).replace(tzinfo=UTC).timestamp()


def _children(content: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of the elements, one after another."""
    found = []
    while content:
        tag, length, start = content[0], content[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(content[2:start])
        found.append((tag, content[start : start + length]))
        content = content[start + length :]
    return found
