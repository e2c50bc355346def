"""The one connection of a node to its broker, and what goes over it: results, metrics, labels, samples."""
