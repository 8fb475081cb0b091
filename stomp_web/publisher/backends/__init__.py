"""Where the messages of a publisher go: to a broker, or for development into memory, onto the console, nowhere."""
