"""From logits and labels to a promise with a proof: Learn-then-Test over thresholds of the gate."""
