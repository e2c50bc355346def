"""How a server says which model it really runs, beyond the name that was configured, and what else it has."""

MODEL_SHA256 = "tidegate-model-sha256"
"""Key in the trailing metadata of ``ModelMetadata``, and in the parameters or HTTP headers of each response.

It is the SHA-256 of the ONNX file, in hex. Servers other than ours lack it; an edge then has the
name alone to go by.
"""
PREPROCESSING_SHA256 = "tidegate-preprocessing-sha256"
"""Key in the trailing metadata of ``ModelMetadata``: how the server makes a payload the model's input.

It is ``artifact.preprocessing_id``, in hex; of a model without an artifact there is none.
"""
STREAMING = "streaming"
"""Extension in ``ServerMetadata`` of a server whose ``ModelStreamInfer`` is Triton's."""
