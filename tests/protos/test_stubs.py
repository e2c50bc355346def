"""Our stubs live beside those of other Open Inference Protocol packages, which define the same names."""

import subprocess
import sys

import pytest

TOGETHER = """
{imports}
import numpy as np
from protos import codec, inference_pb2
theirs = service_pb2.ModelInferRequest(model_name="m")
theirs.inputs.add(name="x", datatype="FP32", shape=[2])
theirs.raw_input_contents.append(np.float32([1, 2]).tobytes())
ours = inference_pb2.ModelInferRequest.FromString(theirs.SerializeToString())
assert codec.request_tensors(ours)["x"].tolist() == [1, 2]
back = codec.request("m", {{"x": np.float32([1, 2])}})
assert service_pb2.ModelInferRequest.FromString(back.SerializeToString()) == theirs
"""
IMPORTS = ["from tritonclient.grpc import service_pb2", "from protos import inference_pb2"]


@pytest.mark.parametrize("order", [1, -1], ids=["theirs first", "ours first"])
def test_tritonclient_and_we_read_each_other_in_one_process(order: int) -> None:
    script = TOGETHER.format(imports="\n".join(IMPORTS[::order]))
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")
