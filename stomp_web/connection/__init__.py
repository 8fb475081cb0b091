"""One socket to one broker: address, TLS, transport, handshake, heart-beats, deadline, dialect."""
