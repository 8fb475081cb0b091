"""A web page that shows the activity of a development broker, and can make the broker misbehave.

>>> from stomp_web.broker import Broker
>>> with Broker() as broker, Page(broker) as page:
...     page.url  # doctest: +ELLIPSIS
'http://127.0.0.1:.../'

``stomp-web broker --http 8161`` runs a broker and its page. The page's server has its own threads. The broker's thread
only stores each accepted message for the page, and never waits for a browser.
"""

from .access import is_loopback
from .server import Page

__all__ = ["Page", "is_loopback"]
