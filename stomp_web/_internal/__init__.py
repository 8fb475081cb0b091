"""What the package uses inside, and no user imports: per-process state, redaction, lazy imports, logging, terminals."""
