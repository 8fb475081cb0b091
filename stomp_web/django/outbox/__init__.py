"""The app of the transactional outbox and the inbox: ``"stomp_web.django.outbox"`` in INSTALLED_APPS.

It has the tables, the relay's commands and the admin; without it, none of that is there.
"""
