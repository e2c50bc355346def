"""Ways to run Tidegate: the demo on one machine, and files for real deployments."""
