"""What tests of the page do on it: open it, act, and read what the session answers."""

from __future__ import annotations

import time

SPIRAL = "dataset=spiral&seed=0.5&networkShape=4,2&epochsPerFrame=10"


def open_page(tab, address, settings="", **emulated):
    """Load the page with settings in its hash and wait for the first frame, before which kernels may be compiled."""
    if emulated:
        tab.emulate(**emulated)
    tab.errors.clear()
    tab.received.clear()
    tab.go(f"{address}#{settings}")
    tab.wait("document.querySelector('.heat').width === 100", 120)
    tab.wait("document.querySelector('.edge').getAttribute('stroke')")


def epoch(tab):
    """Return the epoch that the page shows."""
    return int(tab.text("[data-value=epoch]").replace(",", ""))


def steps(tab, n):
    """Train n single epochs by the button."""
    for _ in range(n):
        before = epoch(tab)
        tab.click("[data-action=step]")
        tab.wait(f"Number(document.querySelector('[data-value=epoch]').textContent.replace(',', '')) === {before + 1}")


def after(tab, action, kind="state"):
    """Act and return the message of the session that follows, once it was drawn."""
    count = sum(message["type"] == kind for message in tab.received)
    action()
    end = time.monotonic() + 20
    while sum(message["type"] == kind for message in tab.received) == count:
        assert time.monotonic() < end, f"no {kind} followed"
        time.sleep(0.01)
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return tab.last(kind)


def settings_of(tab):
    """Return the settings in the address."""
    return tab.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


def edge_place(tab, edge):
    """Return a place on an edge's curve near its end, in the window."""
    return tab.evaluate(
        f"(() => {{ const p = document.querySelector('[data-edge=\"{edge}\"]');"
        "p.closest('.net').scrollIntoView({block: 'center'});"
        "const at = p.getPointAtLength(0.8 * p.getTotalLength()), m = p.getScreenCTM();"
        "return [at.x * m.a + m.e, at.y * m.d + m.f] })()"
    )


def number(text):
    """Return a number that the page shows, with a minus sign or per cent."""
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", "").removesuffix(" %"))


def pixels(tab, selector, side):
    """Return the pixels of a canvas, as numbers of 32 bits."""
    return tab.evaluate(
        f"Array.from(new Uint32Array(document.querySelector('{selector}').getContext('2d')"
        f".getImageData(0, 0, {side}, {side}).data.buffer))"
    )
