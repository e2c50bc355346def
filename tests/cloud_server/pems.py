"""Certificates of one test, in files."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Pems:
    """Two authorities, of which one is a stranger's."""

    folder: Path
    authority: trustme.CA
    rogue: trustme.CA

    @classmethod
    def made(cls, folder: Path) -> "Pems":
        return cls(folder, trustme.CA(), trustme.CA())

    def issue(
        self,
        name: str,
        authority: trustme.CA | None = None,
        expires: datetime | None = None,
        file: str | None = None,
        begins: datetime | None = None,
    ) -> tuple[Path, Path]:
        """Certificate and key of this common name and address, in files of this name or another."""
        issued = (authority or self.authority).issue_cert(
            "127.0.0.1", common_name=name, not_before=begins, not_after=expires
        )
        cert, key = self.folder / f"{file or name}.pem", self.folder / f"{file or name}-key.pem"
        issued.private_key_pem.write_to_path(str(key))
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return cert, key

    @property
    def ca(self) -> Path:
        return self._write("ca.pem", self.authority)

    @property
    def rogue_ca(self) -> Path:
        return self._write("rogue-ca.pem", self.rogue)

    def tls(self, *, mutual: bool = True) -> dict[str, str]:
        """``[tls]`` of a server."""
        cert, key = self.issue("server")
        own = {"cert": str(cert), "key": str(key)}
        return own | ({"client_ca": str(self._write("clients.pem", self.authority))} if mutual else {})

    def _write(self, name: str, authority: trustme.CA) -> Path:
        authority.cert_pem.write_to_path(str(self.folder / name))
        return self.folder / name


def trust(ca: Path, cert: Path | None = None, key: Path | None = None) -> grpc.ChannelCredentials:
    """What a client brings."""
    return grpc.ssl_channel_credentials(*(path.read_bytes() if path else None for path in (ca, key, cert)))


def leaf(authority: trustme.CA, subject: x509.Name, *names: x509.GeneralName) -> tuple[bytes, bytes]:
    """A certificate with just these names, and its key, as PEM: trustme knows no URIs."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    signer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder(issuer.subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    cert = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return cert, pem


def common(*names: str) -> x509.Name:
    """A subject of these common names."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
