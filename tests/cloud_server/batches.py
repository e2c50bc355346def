"""A model whose runs a test can hold up, and look into."""

from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from cloud_server.config import Batching, CloudConfig
from cloud_server.inference import loading
from cloud_server.inference.model import Model, Work
from cloud_server.inference.question import Asked
from cloud_server.inference.sizing import Sizing
from protos import codec
from protos.codec import PlainHeader
from tests.cloud_server import graphs

TABLE = np.arange(100, dtype=np.float32) ** 2


def look_up(path: Path) -> Path:
    """``x`` (n,) int64 -> ``y``, its square; a number of 100 or more fails the run it is in."""
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    x, y = graphs.tensor("x", TensorProto.INT64, ["n"]), graphs.tensor("y", TensorProto.FLOAT, ["n"])
    return graphs.write(path, nodes, [x], [y], [numpy_helper.from_array(TABLE, "table")])


class Watched:
    """A session that notes what it runs, and while it is held runs nothing."""

    def __init__(self, session: Any) -> None:
        self._session, self._lock = session, Lock()
        self.runs: list[list[int]] = []
        self.at_once = self.most_at_once = 0
        self.free = Event()
        self.free.set()

    def run(self, outputs: list[str], feed: dict[str, Any], options: Any) -> Any:
        with self._lock:
            self.runs.append(feed["x"].tolist())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.free.wait(30)
        try:
            return self._session.run(outputs, feed, options)
        finally:
            with self._lock:
                self.at_once -= 1


class Always(Sizing):
    """As many as allowed, whatever it costs."""

    def next(self) -> int:
        return self._sizes[-1]


def watched(path: Path, most: int = 8, delay: float = 0.0) -> tuple[Model, Watched]:
    """``look_up``, in runs of so many samples."""
    settings = CloudConfig(batching=Batching(delays={path.stem: delay}))
    model = loading.open_model(path, settings=settings)
    model.sizing = Always(most)
    model.runs._session = session = Watched(model.runs._session)
    return model, session


def work(model: Model, numbers: list[int]) -> Work:
    """What a request with these numbers would have run."""
    tensor = np.array(numbers)
    asked = Asked("", "", (PlainHeader("x", codec.datatype(tensor.dtype), tensor.shape),))
    return model.prepare(model.plan(asked), {"x": tensor})


def beside(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin it in a thread of its own; gives a way to wait for its result, which an exception is, too."""
    found: list[Any] = []

    def note() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - it is what was found
            found.append(error)

    thread = Thread(target=note)
    thread.start()

    def wait() -> Any:
        thread.join(30)
        return found[0]

    return wait
