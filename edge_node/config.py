"""Settings of a node: a TOML file with these sections, ``TIDEGATE_SECTION__KEY`` over it."""

import os
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from protos import settings
from protos.result import Id
from protos.settings import Section

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Days = Annotated[float, Meta(gt=0)]
Policy = Literal[
    "threshold", "always_edge", "always_cloud", "random",
    "Threshold", "EdgeOnly", "CloudOnly", "Random", "CrossEntropy",
]  # fmt: skip


class Node(Section, frozen=True, kw_only=True):
    """Who this node is."""

    site: Id
    """Where it stands: the first level of its MQTT topics below the root."""
    name: Id
    """Its name, unique in the site: the second level."""


class Model(Section, frozen=True, kw_only=True):
    """What it answers with."""

    path: Path
    """Folder of the edge artifact."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """Threads of one inference; 0 chooses by measurement at start."""


class Gate(Section, frozen=True, kw_only=True):
    """When the edge is trusted."""

    policy: Policy = "threshold"
    """`threshold` asks the cloud below a score. Baselines to compare with: `always_edge`, `always_cloud`,
    `random` (a score of chance, the same for the same sample: `threshold` is the share that asks the cloud).
    Names of Sedna work too: `Threshold`, `EdgeOnly`, `CloudOnly`, `Random` are these, and `CrossEntropy` is
    1 + sum p log p / log(classes)."""
    threshold: float | None = None
    """Score from which the edge is trusted; default: the artifact's. The score is the confidence, 0 to 1,
    unless artifact or policy name another."""


class Certificate(Section, frozen=True, kw_only=True):
    """What becomes of the promise that the artifact carries. Without one, this does nothing."""

    on_alarm: Literal["stricter", "offload_all", "hold"] = "stricter"
    """When it no longer holds: the next stricter certified threshold, all to the cloud, or no change."""
    limit: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Loss of accuracy to accept in all, deferrals without an answer included; default: as certified."""
    max_age: Days | None = None
    """Days from its making after which it is no longer believed; default: for ever."""
    scene: Annotated[float, Meta(ge=0)] = 0
    """Seconds that inputs stay alike, as a camera's do: what is seen in twice that time counts once."""


class Audit(Section, frozen=True, kw_only=True):
    """A random share of what the edge answers also goes to the cloud; the answer stays. Needs `[cloud]`."""

    share: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Of the samples; default: 0.02 if the artifact has a certificate to watch over, else 0."""
    bytes_per_day: Annotated[float, Meta(gt=0)] | None = None
    """Most payload that audits may take in 24 hours; default: no bound."""


class Budget(Section, frozen=True, kw_only=True):
    """What offloading may take: each bound that is set holds. Audits have their own."""

    offload_share: Annotated[float, Meta(gt=0, le=1)] | None = None
    """Share of the samples to send, in the long run; the least certain go. Takes policy `threshold`."""
    bytes_per_second: Annotated[float, Meta(gt=0)] | None = None
    """Payload to send a second; a minute's worth at once."""
    bytes_per_day: Annotated[float, Meta(gt=0)] | None = None
    """Payload to send in any 24 hours; an hour's worth at once."""
    mode: Literal["accuracy-first", "budget-first", "budget-cap"] = "accuracy-first"
    """Where the certificate asks for more than that: it is met until the bytes are gone (`accuracy-first`),
    or the promise rests (`budget-first`; `budget-cap` also saves what the certificate does not ask for)."""


class ArraySource(Section, frozen=True, kw_only=True, tag="array", tag_field="kind"):
    """Samples from a file of numpy arrays."""

    path: Path
    """A `.npy` file, samples along the first axis."""
    rate: Annotated[float, Meta(ge=0)] = 0
    """Samples a second, as a sensor would give them; 0: as fast as they are answered."""
    repeat: bool = False
    """Begin again at the end."""


class DirectorySource(Section, frozen=True, kw_only=True, tag="directory", tag_field="kind"):
    """Samples from a folder of images."""

    path: Path
    """Folder of `.jpg`, `.jpeg` and `.png` files, read in the order of their names."""
    rate: Annotated[float, Meta(ge=0)] = 0
    """Samples a second, as a camera would give them; 0: as fast as they are answered."""
    repeat: bool = False
    """Begin again at the end."""


class StdinSource(Section, frozen=True, kw_only=True, tag="stdin", tag_field="kind"):
    """Samples from standard input: a JSON array a line, or `{"sample": name, "data": array}`."""


class MqttSource(Section, frozen=True, kw_only=True, tag="mqtt", tag_field="kind"):
    """Samples from sensors on the broker of `[mqtt]`."""

    topic: Annotated[str, Meta(min_length=1)]
    """Topic filter to subscribe to; the topic of a message becomes the name of its sample."""
    encoding: Literal["json", "raw"] = "json"
    """`json`: an array. `raw`: the bytes of the tensor, little-endian, or of an image."""
    queue: Count = 100
    """Messages that may wait for the model; when it is full the oldest is dropped, and counted."""


Source = ArraySource | DirectorySource | StdinSource | MqttSource


class Tls(Section, frozen=True, kw_only=True):
    """Encryption of a connection, by PEM files."""

    ca: Path
    """Certificate authority that the server's certificate must come from."""
    cert: Path | None = None
    """Certificate of this node, where the server asks for one."""
    key: Path | None = None
    """Private key of that certificate."""


class Cloud(Section, frozen=True, kw_only=True):
    """Where deferred samples go. Without this section the node is edge-only."""

    target: str
    """`host:port` of a server that speaks the Open Inference Protocol v2 over gRPC."""
    model: str | None = None
    """Name of the model there; default: the one that the artifact names."""
    deadline: Seconds = 0.5
    """Publish the edge answer if the cloud has not answered this long after capture, in seconds."""
    max_inflight: Count = 8
    """Calls that may be under way at once."""
    delivery: Literal["wait", "provisional"] = "wait"
    """`wait`: one result, by the deadline. `provisional`: the edge's at once, the cloud's when it comes."""
    tls: Tls | None = None
    """Encrypt; default: plaintext."""
    token_file: Path | None = None
    """File that holds a bearer token for the server, read anew as it changes; only with `tls`."""


class Mqtt(Section, frozen=True, kw_only=True):
    """Where results go. Without this section they go to standard output, a JSON line each."""

    host: str
    """Host name or address of the broker."""
    port: Port = 1883
    """Its port; 8883 is usual with TLS."""
    root: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")] = "tidegate"
    """First level of every topic."""
    username: str | None = None
    """Name to log in with."""
    password_file: Path | None = None
    """File that holds the password and nothing else."""
    flush: Annotated[float, Meta(ge=0)] = 5.0
    """On stopping, send waiting results for this long, in seconds; the rest waits for the next start."""
    tls: Tls | None = None
    """Encrypt; default: plaintext."""


class Outbox(Section, frozen=True, kw_only=True):
    """Where results wait until they are confirmed, on disk. With `[mqtt]` it is always there."""

    path: Path | None = None
    """Its folder; default: `outbox/<site>.<name>` in systemd's state directory, else in the user's."""
    confirm: Literal["auto", "puback", "sink"] = "auto"
    """Who ends the wait: the broker; the results sink, which stores; `auto`: the sink, once it was heard."""
    unheard: Literal["keep", "confirm"] = "keep"
    """A result for which the broker knew no subscriber: keep it and try again, or be content."""
    linger: Seconds = 0.25
    """No two commits come closer together than this, in seconds; the first after a pause is at once."""
    replay_rate: Annotated[float, Meta(gt=0)] = 1000
    """Waiting results sent a second once the broker is back, so that new ones are not delayed."""
    policy: Literal["drop_oldest", "drop_newest", "reject"] = "drop_oldest"
    """When it is full: which result goes, and is counted; `reject` takes no new sample instead."""
    max_bytes: Count = 256 * 2**20
    """Size of the waiting results."""
    max_rows: Count = 1_000_000
    """Number of the waiting results."""
    max_age: Seconds = 7 * 86_400
    """Age from which a waiting result is dropped, and counted, in seconds of the device's uptime."""
    max_held_bytes: Count = 64 * 2**20
    """Size of the inputs that wait for the cloud with `delivery = "provisional"`; the surest go first."""
    ballast: Annotated[int, Meta(ge=0)] = 4 * 2**20
    """Bytes set aside on the disk, given up when it is full, so that the outbox can still shrink."""


class Metrics(Section, frozen=True, kw_only=True):
    """Where Prometheus finds this node."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 9464
    """Port of `/metrics`; 0: any free one, printed at start."""
    snapshot: Annotated[float, Meta(ge=0, le=3600)] = 15.0
    """Seconds between the snapshots of all metrics that go to the broker, 1.8 KB each; 0: none."""


class Energy(Section, frozen=True, kw_only=True):
    """What the node's joules are estimated by where no sensor measures them; one that does comes first."""

    device: str | None = None
    """What it runs on, by its name in the file of constants; default: what the device says it is."""
    radio: str | None = None
    """What it sends by, by its name there: `wifi`, `lte`; default: a cable, which is not counted."""
    constants: Path | None = None
    """A file of your own, in the form of `edge_node/meters/energy.toml`; default: that one."""


class EdgeConfig(Section, frozen=True, kw_only=True):
    """Everything a node is told."""

    node: Node
    model: Model
    source: Source | None = None
    """Where samples come from; only the Python API goes without."""
    gate: Gate = Gate()
    certificate: Certificate = Certificate()
    audit: Audit = Audit()
    budget: Budget = Budget()
    cloud: Cloud | None = None
    mqtt: Mqtt | None = None
    outbox: Outbox = Outbox()
    metrics: Metrics = Metrics()
    energy: Energy = Energy()


def load(path: Path) -> EdgeConfig:
    """Settings from a file and the environment; ``SettingsError`` names file, key and mistake."""
    return settings.load(path, EdgeConfig, os.environ)
