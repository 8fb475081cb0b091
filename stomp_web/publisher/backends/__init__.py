"""The backends of a publisher: `broker` sends messages; `local` records, prints or discards them for development."""
