"""Settings of the server: a TOML file with these sections, ``TIDEGATE_SECTION__KEY`` over it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, field

from protos import settings
from protos.settings import Section

Port = Annotated[int, Meta(ge=0, le=65535)]


class Server(Section, frozen=True, kw_only=True):
    """Where and how inference is served."""

    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback only with `tls.client_ca` or `[tokens]`, or with `insecure`."""
    port: Port = 8001
    """Port for gRPC; 0: any free one, printed at start."""
    insecure: bool = False
    """Listen beyond loopback without encryption or login: whoever reaches the port can use the models."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """Inferences that a process runs at once; 0: its share of the cores, and if it is alone one more."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Processes that answer, each with all models loaded; from 2 on another one looks after them."""
    queue: Annotated[int, Meta(ge=1)] = 128
    """Requests that may wait for their turn. One more is refused at once, as is one that would be late."""
    grace: Annotated[float, Meta(ge=0)] = 10.0
    """On stopping, calls under way have this long, in seconds; an open health watch takes all of it."""


class Model(Section, frozen=True, kw_only=True):
    """One model to serve."""

    path: Path
    """An artifact's folder, served under the name in its manifest; or an ONNX file, under its stem."""


class Repository(Section, frozen=True, kw_only=True):
    """Models in a folder, `NAME/VERSION/`: an artifact or a `model.onnx` each. On SIGHUP it is read anew."""

    path: Path
    """That folder; no link may lead out of it. A version is a number, as for Triton and OpenVINO."""
    versions: Literal["latest", "all"] = "latest"
    """Of each model: the highest version that loads, or every one."""
    pinned: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Versions to serve of the models named here, such as `{resnet = [1, 3]}`."""
    control: bool = False
    """Callers may load and unload models, by the protocol's repository extension: see `access.control`."""


class Batching(Section, frozen=True, kw_only=True):
    """Requests that wait for the same model share a run, if its samples know nothing of each other."""

    max_batch_size: Annotated[int, Meta(ge=1)] = 16
    """Samples in a run, at most; how many of them pay is learnt. 1: each request has a run of its own."""
    sizes: dict[str, Annotated[int, Meta(ge=1)]] = field(default_factory=dict)
    """The same for the models named here, such as `{resnet = 1}`."""
    max_queue_delay: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds that a run waits for others to share it; 0: it takes those that wait already."""
    delays: dict[str, Annotated[float, Meta(ge=0)]] = field(default_factory=dict)
    """The same for the models named here, such as `{resnet = 0.002}`."""

    def most(self, model: str) -> int:
        """Samples in a run of this model."""
        return self.sizes.get(model, self.max_batch_size)

    def delay(self, model: str) -> float:
        """Seconds that a run of this model waits for others."""
        return self.delays.get(model, self.max_queue_delay)


class Execution(Section, frozen=True, kw_only=True):
    """What runs the models."""

    providers: Annotated[tuple[Literal["cpu", "cuda", "openvino"], ...], Meta(min_length=1)] = ("cpu",)
    """The first takes what it can of a model, the next the rest; onnxruntime must have them."""


class Loading(Section, frozen=True, kw_only=True):
    """What a model file may take. Each is loaded and run once in a process of its own before it serves."""

    memory: Annotated[int, Meta(ge=64)] = 2048
    """MiB of address space for the model, its weights and one run."""
    deadline: Annotated[float, Meta(gt=0)] = 60.0
    """Seconds until it has to have run; and the longest that any run of it may take."""


class Tls(Section, frozen=True, kw_only=True):
    """Encryption, by PEM files, read anew when they change. Without this section there is plaintext."""

    cert: Path
    """Certificate chain of this server."""
    key: Path
    """Private key of that certificate."""
    client_ca: Path | None = None
    """Serve only clients with a certificate from this authority (mutual TLS)."""


class Tokens(Section, frozen=True, kw_only=True):
    """Login by bearer token: a JSON Web Token with `sub`, `aud`, `iat` and `exp`."""

    key: Path
    """Public key of the issuer, as PEM or JSON Web Key Set; for `HS256` the secret. Read anew on change."""
    audience: str = "tidegate"
    """The token's `aud` must be, or contain, this."""
    issuer: str | None = None
    """The token's `iss` must be this; default: any."""
    algorithm: Literal["EdDSA", "ES256", "RS256", "HS256"] = "EdDSA"
    """The one algorithm of signatures."""
    lifetime: Annotated[float, Meta(gt=0)] = 3600.0
    """A token that is good for longer than this, in seconds, is good for nothing."""


class Access(Section, frozen=True, kw_only=True):
    """What callers may do, by the name in their certificate or token."""

    models: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Models of each, such as `{cam-1 = ["cloud"]}`; `*` is everyone else, or every model. Default: all."""
    control: tuple[str, ...] = ()
    """Who may load and unload models; without a login it is everyone."""
    rate: Annotated[float, Meta(ge=0)] = 0.0
    """Inferences a second that each may ask for, without a login all together; 0: any number."""
    burst: Annotated[float, Meta(ge=1)] | None = None
    """Inferences that may come at once; default: those of one second."""
    proxy: str | None = None
    """Name of the one proxy that may say, in `x-forwarded-client-cert`, for whom it calls."""


class Rest(Section, frozen=True, kw_only=True):
    """The protocol over HTTP, with `[tls]` over HTTPS. Without this section there is gRPC alone."""

    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback only as `server.host`."""
    port: Port = 8000
    """Its port; 0: any free one, printed at start."""


class Health(Section, frozen=True, kw_only=True):
    """The server's own health on a port of its own, in plaintext, for who has no certificate, as kubelet."""

    host: str = "127.0.0.1"
    """Address to listen on. Nothing is to be had there but whether this server serves."""
    port: Port = 9467
    """Its port, for gRPC; 0: any free one."""


class Metrics(Section, frozen=True, kw_only=True):
    """Where Prometheus finds this server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 9465
    """Port of `/metrics`; 0: any free one, printed at start."""


class BrokerTls(Section, frozen=True, kw_only=True):
    """Encryption of the connection to the broker, by PEM files."""

    ca: Path
    """Certificate authority that the broker's certificate must come from."""
    cert: Path | None = None
    """Certificate of this server, where the broker asks for one."""
    key: Path | None = None
    """Private key of that certificate."""


class Mqtt(Section, frozen=True, kw_only=True):
    """The broker that the nodes publish to."""

    host: str
    """Its host name or address."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    """Its port; 8883 is usual with TLS."""
    root: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")] = "tidegate"
    """First level of every topic, as the nodes have it."""
    client_id: Annotated[str, Meta(min_length=1)] = "tidegate-fleet"
    """Under this name the broker keeps what comes while the server is away: another one for each server."""
    username: str | None = None
    """Name to log in with."""
    password_file: Path | None = None
    """File that holds the password and nothing else."""
    tls: BrokerTls | None = None
    """Encrypt; default: plaintext."""


class Watch(Section, frozen=True, kw_only=True):
    """Who logs in to hear of the nodes' state and metrics."""

    username: str
    """Name to log in with."""
    password_file: Path | None = None
    """File that holds the password and nothing else."""


class Fleet(Section, frozen=True, kw_only=True):
    """Storing the results of all nodes. Without this section nobody listens to them here."""

    mqtt: Mqtt
    watch: Watch | None = None
    """For a broker that lets a user connect only once; default: the user of `mqtt`."""
    group: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Servers of the same group share the results among them; they need one database."""
    database: str | None = None
    """`sqlite:///FILE` or `postgresql://USER@HOST/NAME`; default: a file in the state directory."""
    database_password_file: Path | None = None
    """File that holds the password of that user and nothing else."""
    keep: Annotated[float, Meta(ge=0)] = 0.0
    """Delete results this many days after they came; 0: never."""
    max_nodes: Annotated[int, Meta(ge=1)] = 2000
    """Nodes whose metrics and state are kept in memory, 0.2 MB each; a further one replaces one offline."""
    max_series: Annotated[int, Meta(ge=1)] = 1000
    """Series of metrics that one node may have in a day; it has about 300."""


class Dashboard(Section, frozen=True, kw_only=True):
    """A page that shows the fleet of `[fleet]`. Without this section there is none."""

    host: str = "127.0.0.1"
    """Address to listen on. There is no login: beyond loopback, put a proxy with one before it."""
    port: Port = 9466
    """Its port; 0: any free one, printed at start."""
    names: tuple[str, ...] = ()
    """Names under which browsers may call it, as that of a proxy; addresses and `localhost` always may."""


class CloudConfig(Section, frozen=True, kw_only=True):
    """Everything a server is told."""

    server: Server = Server()
    models: tuple[Model, ...] = ()
    repository: Repository | None = None
    batching: Batching = Batching()
    loading: Loading = Loading()
    execution: Execution = Execution()
    tls: Tls | None = None
    tokens: Tokens | None = None
    access: Access = Access()
    fleet: Fleet | None = None
    dashboard: Dashboard | None = None
    rest: Rest | None = None
    health: Health | None = None
    metrics: Metrics = Metrics()

    @property
    def serves_models(self) -> bool:
        """Whether there is inference at all."""
        return bool(self.models or self.repository)


def load(path: Path | None, flags: Mapping[str, object] | None = None) -> CloudConfig:
    """Settings from a file, the environment and ``flags`` by ``section.key``, the later over the earlier."""
    return settings.load(path, CloudConfig, os.environ, flags)
