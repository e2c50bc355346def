"""Workstation tools that make what the device runs. The runtime never imports them."""
