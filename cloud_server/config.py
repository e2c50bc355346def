"""Settings of the server: a TOML file with these sections, ``TIDEGATE_SECTION__KEY`` over it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from protos import settings
from protos.settings import Section

Port = Annotated[int, Meta(ge=0, le=65535)]


class Server(Section, frozen=True, kw_only=True):
    """Where and how inference is served."""

    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback only with `[tls]`, or with `insecure`."""
    port: Port = 8001
    """Port for gRPC; 0: any free one, printed at start."""
    insecure: bool = False
    """Listen beyond loopback without encryption. Whoever reaches the port can then use the models."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """Inferences that run at once, one core each; 0: as many as there are cores."""
    grace: Annotated[float, Meta(ge=0)] = 10.0
    """On stopping, calls under way have this long, in seconds; an open health watch takes all of it."""


class Model(Section, frozen=True, kw_only=True):
    """One model to serve."""

    path: Path
    """An artifact's folder, served under the name in its manifest; or an ONNX file, under its stem."""


class Tls(Section, frozen=True, kw_only=True):
    """Encryption, by PEM files. Without this section the server speaks plaintext."""

    cert: Path
    """Certificate chain of this server."""
    key: Path
    """Private key of that certificate."""
    client_ca: Path | None = None
    """Serve only clients with a certificate from this authority (mutual TLS)."""


class Metrics(Section, frozen=True, kw_only=True):
    """Where Prometheus finds this server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 9465
    """Port of `/metrics`; 0: any free one, printed at start."""


class CloudConfig(Section, frozen=True, kw_only=True):
    """Everything a server is told."""

    server: Server = Server()
    models: tuple[Model, ...] = ()
    tls: Tls | None = None
    metrics: Metrics = Metrics()


def load(path: Path | None, flags: Mapping[str, object] | None = None) -> CloudConfig:
    """Settings from a file, the environment and ``flags`` by ``section.key``, the later over the earlier."""
    return settings.load(path, CloudConfig, os.environ, flags)
