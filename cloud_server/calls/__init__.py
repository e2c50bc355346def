"""The Open Inference Protocol v2 over gRPC: how calls come in and are answered."""
