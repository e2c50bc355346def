"""The Grafana dashboard, built from code."""
