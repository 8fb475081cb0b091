"""Internal tools, not for users: per-process state, redaction, lazy imports, logging, terminals."""
