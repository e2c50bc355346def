"""Models served over the Open Inference Protocol v2."""
