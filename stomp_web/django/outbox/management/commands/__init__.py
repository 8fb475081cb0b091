"""The management commands of the outbox app."""
