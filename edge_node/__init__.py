"""What runs on the device."""

import protos  # noqa: F401 - before all else: see there
