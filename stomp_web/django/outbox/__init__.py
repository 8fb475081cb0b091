"""The app of the transactional outbox and the inbox: ``"stomp_web.django.outbox"`` in INSTALLED_APPS.

The app has the tables, the relay's commands and the admin, which are not there without the app.
"""
