"""A page in the browser that shows what a development broker does, and makes it misbehave.

>>> from stomp_web.broker import Broker
>>> with Broker() as broker, Page(broker) as page:
...     page.url  # doctest: +ELLIPSIS
'http://127.0.0.1:.../'

``stomp-web broker --http 8161`` runs both. The page's server has threads of its own: the thread of the broker only
keeps a reference to each accepted message, and never waits for a browser.
"""

from .access import is_loopback
from .server import Page

__all__ = ["Page", "is_loopback"]
