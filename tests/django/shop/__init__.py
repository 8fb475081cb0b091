"""A Django app that sends messages from its views."""
