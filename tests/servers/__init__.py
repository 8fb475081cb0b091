"""Real servers in front of a real application: every request served, every 2xx's message in the queue exactly once."""
