"""The durable queue of results: committed to the disk before anybody is told of them."""

from edge_node.outbox.change import DeadLetter, Held, Row
from edge_node.outbox.files import folder
from edge_node.outbox.outbox import Depth, Outbox

__all__ = ["DeadLetter", "Depth", "Held", "Outbox", "Row", "folder"]
