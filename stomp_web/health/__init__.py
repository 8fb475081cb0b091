"""Health checks: whether a web application, a worker or a relay is live and ready.

* *live* - the program works, or will work again by itself. If a program is not live, only a restart helps. A program
  stays live while its broker is away.
* *ready* - the program can do its work now. While its broker is away, a program is not ready.

The parts, and the module of each part::

    Report (report)                holds live, ready and the reason, and makes the JSON text of an answer
    HealthCheck (check)            asks the brokers of an application, one check at a time
    HealthMiddleware (middleware)  answers the probes of a WSGI application, with a HealthCheck
    HealthServer (server, probe)   answers the probes of a worker or a relay, in a thread
    HealthFile (file)              the file of a worker or a relay, for probes that run a command

`stomp_web.flask.health` and `stomp_web.django.health` answer the probes of Flask and Django applications.
"""

from .check import HealthCheck
from .middleware import HealthMiddleware
from .report import Report
from .server import HealthServer

__all__ = ["HealthCheck", "HealthMiddleware", "HealthServer", "Report"]
