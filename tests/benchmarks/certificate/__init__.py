"""Evidence for the certified gate: the data it is measured on, and a report a promise."""
