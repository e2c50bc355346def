"""One page that shows the fleet, and its JSON. Served by the process that hears the fleet."""
