"""What stands behind the devices: inference for the samples they defer."""

import protos  # noqa: F401 - before all else: see there
