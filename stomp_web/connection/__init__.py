"""One connection to one broker: address, TLS, transport, session, heart-beats, deadline, dialect."""
