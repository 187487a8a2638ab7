"""One server and one Chromium for all tests of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from playground.page_actions import open_page


class Served:
    """A server of the playground as a program of its own, on a free port or the given one."""

    def __init__(self, port=0):
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastnn", "playground", "--no-browser", "--port", str(port)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip
        said = ""
        for line in self.process.stdout:
            said += line
            if found := re.search(r"http://[0-9a-z.]+:([0-9]+)/", line):
                self.address, self.port = found[0], int(found[1])
                return
        raise RuntimeError(f"the server ended: {said}")

    def kill(self):
        """End it without notice."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def browser():
    """Return the running Chromium."""
    pytest.importorskip("tornado")
    from playground.browser import PROGRAM, Browser

    if PROGRAM is None:
        pytest.skip("could not import the page: Chromium is not installed")
    running = Browser()
    yield running
    running.close()


@pytest.fixture(scope="session")
def serve():
    """Return a function that starts a server; all of them are ended after the tests."""
    pytest.importorskip("tornado")
    servers = []

    def start(port=0):
        servers.append(Served(port))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="session")
def ask():
    """Return a function that lets a session answer in this process, and returns its states and frames."""
    from fastnn.playground.session import Session

    def answers(settings, *messages):
        sent = []
        session = Session(lambda message, buffers: sent.append(message))
        for message in ({"type": "hello", "state": settings}, *messages):
            session.handle(message)
        return [message for message in sent if message["type"] in ("state", "frame")]

    return answers


@pytest.fixture(scope="session")
def address(serve):
    """Return the address of the server that the tests share."""
    return serve().address


@pytest.fixture(scope="module")
def tab(browser):
    """Return the tab that the tests of a file share; a page left open would train on during all later tests."""
    opened = browser.open()
    yield opened
    opened.close()


@pytest.fixture
def page(tab, address):
    """Return a function that opens the page; in the end there was no error on it."""

    def opened(settings="seed=1", **emulated):
        open_page(tab, address, settings, **emulated)
        return tab

    yield opened
    assert tab.errors == []
    tab.emulate()
