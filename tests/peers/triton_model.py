"""For the Python backend of Triton: an ONNX file, batched as Triton says."""

import json
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"])
        self._session = ort.InferenceSession(parameters["file"]["string_value"], options)

    def execute(self, requests: list[Any]) -> list[Any]:
        arrays = [triton.get_input_tensor_by_name(it, "x").as_numpy() for it in requests]
        batch = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
        logits = self._session.run(None, {"x": batch})[0]
        ends = np.cumsum([len(it) for it in arrays])[:-1]
        return [triton.InferenceResponse([triton.Tensor("logits", it)]) for it in np.split(logits, ends)]
