"""What has no event of its own to count it: sockets, and certificates that grow old."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from threading import Event

from cloud_server.config import CloudConfig
from cloud_server.metrics import Meter
from protos.expiry import expiry
from protos.wire import Listener, Peer, Wire, watching


@contextmanager
def running(config: CloudConfig, meter: Meter, address: str) -> Iterator[None]:
    """Count while inside; ``address`` is that of inference, empty without it."""

    def count(transport: str, sent: int, received: int) -> None:
        meter.network.labels(transport, "sent").inc(sent)
        meter.network.labels(transport, "received").inc(received)

    endpoints: list[Listener | Peer] = []
    if address:
        endpoints.append(Listener("grpc", int(address.rpartition(":")[2])))
    if config.fleet:
        endpoints.append(Peer("mqtt", config.fleet.mqtt.host, config.fleet.mqtt.port))

    def look(*, restless: bool) -> float:
        meter.tally()
        return wire.look(restless=restless)

    _tell_expiry(config, meter)
    with closing(Wire(endpoints, count)) as wire, watching(look, Event()):
        yield
    meter.tally()


def _tell_expiry(config: CloudConfig, meter: Meter) -> None:
    own = config.tls.cert if config.tls else None
    broker = config.fleet.mqtt.tls if config.fleet else None
    for transport, certificate in (("grpc", own), ("mqtt", broker.cert if broker else None)):
        meter.certificate_expiry.labels(transport).set_function(partial(expiry, certificate))
