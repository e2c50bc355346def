"""Certificates whose authority is trusted no more, on connections that are open still."""

from functools import lru_cache
from typing import TYPE_CHECKING

from cloud_server.access.certificates import Certificates

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class Authorities:
    """Those that are trusted, and those that were."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._ever = certificates.value().authorities

    def withdrawn(self, certificate: bytes) -> bool:
        """Whether it comes from an authority that is trusted no more.

        Only of one that comes from it directly: of those between them a caller shows us nothing.
        """
        now = self._certificates.value().authorities
        self._ever |= now
        gone = self._ever - now
        return bool(gone) and _from_any(certificate, gone) and not _from_any(certificate, now)


@lru_cache(1024)
def _from_any(content: bytes, authorities: "frozenset[Certificate]") -> bool:
    from cryptography import x509

    load = x509.load_pem_x509_certificate if content.startswith(b"-----") else x509.load_der_x509_certificate
    return any(_is_from(load(content), authority) for authority in authorities)


def _is_from(certificate: "Certificate", authority: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True
