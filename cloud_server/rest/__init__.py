"""The Open Inference Protocol v2 over HTTP: JSON, and tensors as bytes behind it."""
