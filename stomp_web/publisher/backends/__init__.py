"""The backends of a publisher send messages to a broker, or for development record, print or discard them."""
