"""Makes the picture of the order form for README: ``python -m tests.example_apps.screenshots``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from stomp_web.broker import Broker
from tests.broker_page.chromium import Chromium, find_chromium
from tests.client.scripted import eventually
from tests.example_apps.sites import DEADLINE, Consumer, serving

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "order-form.png"
WIDTH, HEIGHT = 1100, 670


def main(path: Path = IMAGE) -> int:
    """Place four orders, of which one is refused, and write the picture to *path*."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker() as broker,
        serving("flask", broker.url, Path(folder) / "shop.sqlite3") as site,
    ):
        with Consumer(site) as consumer:
            site.order("Ada Lovelace", "Espresso beans, 250 g", "2")
            site.order("Alan Turing", "Green tea, 100 g", "1")
            if not eventually(lambda: site.get("/").html.count("in the books") == 2, DEADLINE):
                sys.exit("the consumer did not handle the two orders")
            consumer.stop()
        site.order("Katherine Johnson", "Filter coffee, 500 g", "4")
        broker.faults.error("SEND", "access refused: access to /queue/orders refused", times=2)
        with Chromium(chromium) as browser:
            browser.show(WIDTH, HEIGHT)
            browser.open(site.url)
            browser.run("document.querySelector('[name=customer]').value = 'Grace Hopper'")
            browser.run("document.querySelector('[name=item]').value = 'Hand grinder'")
            browser.click("form.card button")
            browser.wait("document.querySelector('.notice.bad')")
            browser.run("document.activeElement.blur()")
            path.write_bytes(browser.screenshot())
            if browser.problems:
                print(browser.problems)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGE))
