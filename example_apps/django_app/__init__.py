"""The Django example. Start it with ``python -m example_apps.django_app``."""
