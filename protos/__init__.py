"""The contract: all that both sides of Tidegate must agree on, and nothing else."""
