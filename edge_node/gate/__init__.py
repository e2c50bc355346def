"""When to trust the edge: pure functions and frozen objects."""
