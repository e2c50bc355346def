"""Photos: EfficientNet-Lite0 in int8 at the edge, Lite2 in fp32 in the cloud, on a folder of the user's."""
