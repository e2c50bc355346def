"""Who may call, who that is, and what they may do."""
