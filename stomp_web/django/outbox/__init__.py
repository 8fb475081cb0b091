"""The app of the outbox, the inbox and the results of tasks: ``"stomp_web.django.outbox"`` in INSTALLED_APPS.

The tables, the relay's commands and the pages in the admin exist only with this app.
"""
