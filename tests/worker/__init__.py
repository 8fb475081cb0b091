"""The worker, with the development broker in this process. Real brokers are in tests/brokers and tests/faults."""
