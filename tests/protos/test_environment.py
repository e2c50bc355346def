"""What libraries are told before they are imported."""

import subprocess
import sys

import pytest

CODE = """
import sys
import {package}
assert "protos" in sys.modules and not {{"grpc", "onnxruntime"}} & sys.modules.keys()
import {package}.cli
import grpc
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{{port}}") as channel:
    grpc.channel_ready_future(channel).result(20)
server.stop(None).wait()
"""


@pytest.mark.parametrize("package", ["edge_node", "cloud_server"])
def test_grpc_knows_every_experiment_that_it_is_told_to_leave(package: str) -> None:
    command = [sys.executable, "-c", CODE.format(package=package)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
