"""A certificate into an artifact."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from edge_node.gate.certificate import CERTIFICATE, Certificate, encode
from edge_node.prepare.pack import put_in_place
from protos import artifact as contract
from protos.artifact import Artifact, Gate


def write(certificate: Certificate, edge: Artifact, directory: Path) -> Artifact:
    """The edge artifact with the certificate and its gate, whole or not at all; may replace an artifact."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
        folder = Path(scratch) / "artifact"
        shutil.copytree(edge.directory, folder)
        (folder / CERTIFICATE).write_bytes(encode(certificate))
        manifest = msgspec.structs.replace(
            edge.manifest,
            gate=Gate(
                score=certificate.score,
                temperature=certificate.temperature,
                threshold=certificate.threshold,
            ),
            cloud=certificate.binding.cloud if certificate.binding else edge.manifest.cloud,
            files={**edge.manifest.files, CERTIFICATE: contract.digest(folder / CERTIFICATE)},
        )
        (folder / contract.MANIFEST).write_bytes(contract.encode_manifest(manifest))
        contract.load(folder)
        put_in_place(folder, directory)
    return contract.load(directory)
