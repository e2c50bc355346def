"""What the server does for the whole fleet: it stores the results and confirms them to the devices."""
