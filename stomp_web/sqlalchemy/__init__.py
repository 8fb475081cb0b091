"""stomp-web for SQLAlchemy 2: the transactional outbox and inbox, and messages that are sent after a commit.

>>> from sqlalchemy import MetaData
>>> from stomp_web import Publisher
>>> metadata, publisher = MetaData(), Publisher("memory://")
>>> outbox = Outbox(metadata, publisher)
>>> outbox.table.name
'stomp_web_outbox'
"""

from .after_commit import send_after_commit
from .inbox import Inbox
from .outbox import Outbox

__all__ = ["Inbox", "Outbox", "send_after_commit"]
