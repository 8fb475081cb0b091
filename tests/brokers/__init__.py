"""Real brokers for the tests: how each is found, started, hurt, read and stopped, and the contract they all run."""
