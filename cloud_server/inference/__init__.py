"""Models, and who runs when: from a question to its answer."""
