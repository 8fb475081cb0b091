"""Internal tools, which no user imports: per-process state, redaction, lazy imports, logging, terminals."""
