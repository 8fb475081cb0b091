"""The migrations of the outbox app."""
