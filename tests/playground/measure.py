"""Measure the page of the playground in Chromium: first paint, bytes, frames and epochs per second.

``PYTHONPATH=tests python -m playground.measure [EPOCHS_PER_FRAME] [SETTINGS]``, on a quiet machine. Not a test.
"""

from __future__ import annotations

import json
import sys

from playground.browser import Browser
from playground.conftest import Served
from playground.page_actions import open_page

SECONDS = 5
COUNT = f"""new Promise((done) => {{
  const epoch = document.querySelector("[data-value=epoch]"), lines = document.querySelector(".net > svg");
  const number = () => Number(epoch.textContent.replaceAll(",", "")), start = performance.now(), first = number();
  let frames = 0, calls = 0, last = "";
  const look = () => {{
    calls++;
    if (lines.style.strokeDashoffset !== last) frames++; // the dashes move in each frame
    last = lines.style.strokeDashoffset;
    const seconds = (performance.now() - start) / 1000;
    if (seconds < {SECONDS}) return requestAnimationFrame(look);
    done({{ frames: frames / seconds, screen: calls / seconds, epochs: (number() - first) / seconds }});
  }};
  look();
}})"""


def main() -> None:
    """Print the figures as one line of JSON."""
    per_frame = sys.argv[1] if len(sys.argv) > 1 else "50"
    settings = sys.argv[2] if len(sys.argv) > 2 else "seed=0.5&dataset=spiral"
    server, browser = Served(), Browser()
    try:
        tab = browser.open()
        open_page(tab, server.address, settings)  # loads the kernels
        tab.bytes = 0
        tab.call("Network.setCacheDisabled", cacheDisabled=True)
        open_page(tab, server.address, f"{settings}&epochsPerFrame={per_frame}")
        paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        tab.key(" ")
        tab.wait("document.querySelector('.fnp.playing')")
        found = tab.evaluate(COUNT)
        print(json.dumps({
            "first paint, ms": round(paint), "page, bytes": tab.bytes, "frames/s": round(found["frames"], 1),
            "screen's frames/s": round(found["screen"], 1), "epochs/s": round(found["epochs"]),
            "us/step": tab.text("[data-value=stepTime]"),
        }))  # fmt: skip
    finally:
        browser.close()
        server.kill()


if __name__ == "__main__":
    main()
