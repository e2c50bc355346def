"""`edge-node top`: a node's own metrics on one screen of a terminal."""
