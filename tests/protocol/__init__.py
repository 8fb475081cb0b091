"""The protocol: frames and bytes. Nothing here opens a socket; the bytes of real brokers stand in the tests."""
