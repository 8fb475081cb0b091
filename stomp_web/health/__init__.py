"""Health checks: whether a web application, a worker or a relay is live and ready.

* *live* - the program works, or will work again by itself. If a program is not live, only a restart helps. A program
  stays live while its broker is away.
* *ready* - the program can do its work now. While its broker is away, a program is not ready.

The parts, and the module of each part::

    Report (report)              holds live, ready and the reason, and makes the JSON text of an answer
    HealthCheck (check)          asks the brokers of a web application, one check at a time
      HealthMiddleware (middleware)    answers the probes of a WSGI application
      stomp_web.flask.health, stomp_web.django.health
    HealthServer (server, probe) answers the probes of a worker or a relay, in a thread
      HealthFile (file)          a file for probes that run a command
"""

from .check import HealthCheck
from .middleware import HealthMiddleware
from .report import Report
from .server import HealthServer

__all__ = ["HealthCheck", "HealthMiddleware", "HealthServer", "Report"]
