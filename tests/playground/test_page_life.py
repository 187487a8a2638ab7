"""The page of the playground when its server ends, and without one: a recorded run."""

from __future__ import annotations

import json

import pytest
from playground.page_actions import epoch, open_page


def test_a_server_that_ends_is_said_and_found_again(tab, serve):
    server = serve()
    open_page(tab, server.address, "seed=0.5&dataset=xor")
    tab.key(" ")
    tab.wait("document.querySelector('[data-value=epoch]').textContent > '000,000'")
    server.kill()
    tab.wait("document.querySelector('.notice').dataset.kind === 'closed'")
    assert "python -m fastnn playground" in tab.text(".notice")
    assert not tab.evaluate("document.querySelector('.fnp').classList.contains('playing')")
    tab.received.clear()
    serve(server.port)
    tab.wait("document.querySelector('.notice').hidden", 60)
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,000'", 60)
    assert tab.last("state")["settings"]["dataset"] == "xor"
    # Chromium logs each connection that was refused, and nothing else was wrong.
    assert [error for error in tab.errors if "WebSocket connection" not in error] == []


@pytest.fixture
def recording(tmp_path):
    """Return the path of a page that plays a recorded run of 12 frames."""
    from fastnn.playground import record

    path = tmp_path / "run.html"
    record(path, settings={"dataset": "xor"}, frames=12, epochs_per_frame=2)
    return path


def test_a_recorded_run_plays_without_a_server(tab, recording):
    tab.errors.clear()
    tab.requests.clear()
    tab.go(recording.as_uri())
    tab.wait("document.querySelector('.edge').getAttribute('stroke')")
    first = tab.evaluate("document.querySelector('.edge').getAttribute('stroke-width')")
    tab.key(" ")
    tab.wait("document.querySelector('.fnp.playing')")
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,024'")
    tab.wait("!document.querySelector('.fnp.playing')")
    assert tab.evaluate("document.querySelector('.edge').getAttribute('stroke-width')") != first
    tab.click("[data-action=reset]")
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,000'")
    tab.click("[data-action=step]")
    tab.wait("document.querySelector('[data-value=epoch]').textContent === '000,002'")
    tab.click("[data-action=regenerate]")
    tab.wait("document.querySelector('.notice').textContent.includes('recording')")
    assert epoch(tab) == 2
    assert tab.errors == []
    assert [url for url in tab.requests if not url.startswith(("data:", "about:", "file:"))] == []


def test_the_module_is_in_the_form_of_anywidget(tab, address):
    """A model that has only the methods of anywidget's, whose `set` notifies, drives the module until it is ended."""
    open_page(tab, address, "seed=1")
    state = json.dumps(tab.last("state"))
    found = tab.evaluate(
        "import('/playground.js').then(({ default: { render } }) => {"
        "const sent = [], listeners = {}, el = document.createElement('div'); document.body.append(el);"
        "const values = { settings: { dataset: 'xor' } };"
        "const model = { get: (name) => values[name], save_changes() {},"
        "set: (name, value) => { values[name] = value; listeners['change:' + name]() },"
        "on: (name, listener) => (listeners[name] = listener), off: (name) => delete listeners[name],"
        "send: (message) => sent.push(message) };"
        "const end = render({ model, el });"
        f"listeners['msg:custom']({state}, []);"
        "const shown = el.querySelectorAll('button').length; const on = Object.keys(listeners);"
        "end(); return [sent, shown, on, Object.keys(listeners), el.children.length] })"
    )
    sent, shown, on, left, children = found
    assert sent == [{"type": "hello", "state": {"dataset": "xor"}}]
    assert shown > 10
    assert "msg:custom" in on
    assert (left, children) == ([], 0)
    assert tab.errors == []


def test_the_name_is_there_before_the_script_has_run(tab, serve):
    """The first paint need not wait for the script, whose heading then takes the place of the name."""
    server = serve()
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.call("Page.navigate", url=server.address)
        tab.wait("document.readyState === 'complete' && document.querySelector('.fnp-name')")
        place = (
            "(() => { const box = document.querySelector('%s').getBoundingClientRect(); return [box.left, box.top] })()"
        )
        name = tab.evaluate("document.querySelector('.fnp-name').textContent")
        padding = tab.evaluate("parseFloat(getComputedStyle(document.querySelector('.fnp-name')).paddingLeft)")
        top = tab.evaluate("parseFloat(getComputedStyle(document.querySelector('.fnp-name')).paddingTop)")
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert name == "fastnn playground"
    open_page(tab, server.address, "seed=0.5&dataset=xor")
    assert tab.evaluate("document.querySelectorAll('.fnp-name').length") == 0
    left, heading = tab.evaluate(place % ".fnp h1")
    assert abs(left + 25 - padding) < 12  # behind the two dots
    assert abs(heading - top) < 12
