"""What stands behind the devices: inference for the samples they defer."""
