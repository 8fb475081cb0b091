"""Stands for ``curl``, which not every machine has: the few options that pages use."""

import argparse
import http.client
import sys
import urllib.error
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("-d", dest="data", action="append")
parser.add_argument("-H", dest="headers", action="append", default=[])
parser.add_argument("-X", dest="method")
parser.add_argument("url")
given = parser.parse_args()

request = urllib.request.Request(
    given.url, data=None if given.data is None else "&".join(given.data).encode(), method=given.method
)
for header in given.headers:
    name, _, value = header.partition(":")
    request.add_header(name, value.strip())
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:  # curl prints that too
    answer = error
except http.client.RemoteDisconnected:
    print("curl: (52) Empty reply from server", file=sys.stderr)
    sys.exit(52)
with answer:
    sys.stdout.write(answer.read().decode())
