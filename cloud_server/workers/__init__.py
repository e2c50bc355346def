"""More processes than one: workers that answer, and a supervisor that has all else."""
