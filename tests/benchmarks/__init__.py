"""What the node costs, measured on this machine: ``make bench`` prints tables and writes JSON."""
