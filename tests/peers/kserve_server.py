"""For KServe: its Python server with one ONNX file.

``kserve_server.py FILE GRPC_PORT HTTP_PORT THREADS RUNS``. ``THREADS``: of one inference.
``RUNS``: inferences at once; 0: on the event loop.
"""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kserve
import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse

DATATYPES = {"tensor(float)": "FP32"}


class OnnxModel(kserve.Model):
    def __init__(self, path: Path, threads: int, runs: int) -> None:
        super().__init__(path.stem)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(path, options)
        self._pool = ThreadPoolExecutor(runs) if runs else None
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        feed = {it.name: it.as_numpy() for it in payload.inputs}
        if self._pool:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._pool, self._session.run, None, feed)
        else:
            found = self._session.run(None, feed)
        outputs = []
        for spec, array in zip(self._session.get_outputs(), found, strict=True):
            output = InferOutput(spec.name, list(array.shape), "FP32")
            output.set_data_from_numpy(array, binary_data=True)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs)

    def get_input_types(self) -> list[dict[str, Any]]:
        return [_metadata(it) for it in self._session.get_inputs()]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [_metadata(it) for it in self._session.get_outputs()]


def _metadata(spec: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": DATATYPES[spec.type], "shape": shape}


if __name__ == "__main__":
    grpc_port, http_port, threads, runs = map(int, sys.argv[2:])
    logging.disable(logging.INFO)  # two lines a request
    server = kserve.ModelServer(grpc_port=grpc_port, http_port=http_port, enable_latency_logging=False)
    server.start([OnnxModel(Path(sys.argv[1]), threads, runs)])
