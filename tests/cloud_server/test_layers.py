"""What inference may load."""

import subprocess
import sys

FOREIGN = ("paho", "edge_node", "torch", "onnx", "PIL")


def test_the_server_loads_nothing_it_does_not_need() -> None:
    code = f"import sys, cloud_server.cli; print([name for name in {FOREIGN} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
