"""What can go wrong in the demo in a way that its user can mend."""


class DemoError(Exception):
    """Its text is the one line the user sees: what was wrong and what to do."""
