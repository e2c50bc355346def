"""The demo: a broker, a cloud server and edge nodes as real processes on one machine."""
