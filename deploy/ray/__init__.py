"""An application for Ray Serve."""
