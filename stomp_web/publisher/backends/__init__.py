"""The backends of a publisher. `broker` sends messages. `local` records, prints or drops messages for development."""
