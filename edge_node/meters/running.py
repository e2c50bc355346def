"""The meters of a running node."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from edge_node.config import EdgeConfig
from edge_node.meters.counterfactual import CloudOnly
from edge_node.meters.energy import EnergyMeter
from edge_node.metrics import TRANSPORTS, Meter, amount
from protos.expiry import expiry
from protos.wire import Peer, Wire, watching


@contextmanager
def running(settings: EdgeConfig, meter: Meter) -> Iterator[None]:
    """Count while inside. ``NodeError`` says what is wrong with the constants of ``[energy]``."""

    def count(transport: str, sent: int, received: int) -> None:
        meter.network.labels(transport, "sent").inc(sent)
        meter.network.labels(transport, "received").inc(received)

    def traffic() -> tuple[float, float]:
        sent, received = (
            sum(amount(meter.network.labels(it, direction)) for it in TRANSPORTS)
            for direction in ("sent", "received")
        )
        return sent, received

    def look(*, restless: bool) -> float:
        meter.tally()
        wait = wire.look(restless=restless)
        cloud_only.look(settled=wire.settled)
        energy.look()
        return wait

    _tell_expiry(settings, meter)
    wire, cloud_only = Wire(peers(settings), count), CloudOnly(meter)
    energy = EnergyMeter(settings.energy, meter.energy, traffic)
    with closing(wire), watching(look, meter.unrest):
        yield


def peers(settings: EdgeConfig) -> list[Peer]:
    """Whom a node connects to."""
    found = []
    if settings.cloud:
        host, _, port = settings.cloud.target.rpartition("/")[2].rpartition(":")
        found.append(Peer("grpc", host.strip("[]"), int(port) if port.isdecimal() else 443))
    if settings.mqtt:
        found.append(Peer("mqtt", settings.mqtt.host, settings.mqtt.port))
    return found


def _tell_expiry(settings: EdgeConfig, meter: Meter) -> None:
    for transport, section in (("grpc", settings.cloud), ("mqtt", settings.mqtt)):
        certificate = section.tls.cert if section and section.tls else None
        meter.certificate_expiry.labels(transport).set_function(partial(expiry, certificate))
