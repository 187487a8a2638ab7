"""Take the picture of the playground for the documents: ``PYTHONPATH=tests python -m playground.picture [FILE]``.

It shows the net of 8 and 6 units on the spiral after 300 epochs, 1280 x 800 pixels, with 128 colours (needs Pillow).
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from playground.browser import Browser
from playground.conftest import Served
from playground.page_actions import open_page

FILE = Path(__file__).parents[2] / "docs" / "figures" / "playground.png"
SETTINGS = (
    "dataset=spiral&networkShape=8,6&xSquared=true&ySquared=true&sinX=true&sinY=true&seed=0.5"
    "&epochsPerFrame=10&stopEpochs=300"
)


def main() -> None:
    """Write the picture."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    server, browser = Served(), Browser()
    try:
        tab = browser.open(width=1280, height=800)
        open_page(tab, server.address, SETTINGS)
        tab.key(" ")
        tab.wait("document.querySelector('.notice').dataset.kind === 'stopped'", 60)
        tab.evaluate("document.querySelector('.notice').hidden = true")
        tab.screenshot(file)
    finally:
        browser.close()
        server.kill()
    with Image.open(file) as picture:
        reduced = picture.convert("RGB").quantize(128)
    reduced.save(file, optimize=True)


if __name__ == "__main__":
    main()
