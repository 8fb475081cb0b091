"""The parts of one connection to one broker, such as the address, the transport and the session."""
