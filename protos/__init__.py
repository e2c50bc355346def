"""The contract: all that both sides must agree on, and nothing else."""

import os

# onnxruntime's wheels report their use to their maker unless told not to before they are imported.
# Every part of Tidegate imports this package first; who wants the reports sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
