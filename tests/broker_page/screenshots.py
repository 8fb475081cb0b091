"""Makes the pictures of the page for the documentation: ``python -m tests.broker_page.screenshots``."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

from stomp_web import Publisher, StompError
from stomp_web.broker import Broker
from stomp_web.broker.page import Page
from tests.broker.wire import Wire
from tests.broker_page.chromium import Chromium, find_chromium

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZES = {
    "light": (1280, 900, "light", False),
    "dark": (1280, 900, "dark", False),
    "phone": (390, 844, "light", True),
}


def fill(broker: Broker) -> None:
    """Send some messages of a shop."""
    with Publisher(broker.url, login="shop", passcode="secret") as publisher:
        for number, name in enumerate(("Ada", "Grace", "Hedy"), 7):
            publisher.send("/queue/orders", {"id": number, "customer": name, "total": "12.50", "items": ["tea", "cup"]})
        publisher.send("/topic/orders.new", {"id": 9})
        publisher.send("/queue/greetings", "Grüße aus Köln", serializer="text")
        publisher.send("/queue/images", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", serializer="bytes")
        payload = {"order": 9, "at": datetime(2026, 11, 29, 5, 30)}
        publisher.send("/queue/audit", payload, serializer="pickle")
        broker.faults.error("SEND", "Access refused")
        try:
            publisher.send("/queue/orders", {"id": 10})
        except StompError as error:
            print("as ordered:", error)
        publisher.send("/queue/orders", {"id": 10, "customer": "Mary", "total": "3.20", "items": ["cup"]})


def main(folder: Path = IMAGES) -> int:
    """Write broker-page-NAME.png into *folder*."""
    path = find_chromium()
    if path is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    for name, (width, height, scheme, mobile) in SIZES.items():
        with Broker(port=61613 if "--port" in sys.argv else 0) as broker, Page(broker) as page, Wire(broker) as worker:
            worker.connect(login="worker")
            worker.subscribe("/queue/orders", "1", "client-individual", prefetch_count="2")
            worker.subscribe("/topic/orders.*", "2")
            fill(broker)
            with Chromium(path) as browser:
                browser.show(width, height, scheme, mobile=mobile)
                browser.open(page.url)
                browser.wait("document.querySelectorAll('#message-list li').length >= 8")
                browser.wait("document.querySelectorAll('#client-list > li').length >= 1")
                browser.click("#fault-delay")
                browser.wait("document.querySelector('#active-list li')")
                browser.run("document.querySelector('#notice-close').click()")
                browser.click("#message-list li:nth-child(1) summary")
                browser.wait("document.querySelector('.detail pre')")
                browser.run("scrollTo({top: 0, behavior: 'instant'})")
                browser.run("document.activeElement.blur()")
                (folder / f"broker-page-{name}.png").write_bytes(browser.screenshot())
                if browser.problems:
                    print(browser.problems)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES))
