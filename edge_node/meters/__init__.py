"""What has no event of its own to count it: sockets, sensors, certificates; and what might have been."""
