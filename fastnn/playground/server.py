"""The server of the playground: its page and a WebSocket per session, on the loopback interface alone (tornado).

What it is sent is bounded: origin and host, number of sessions, size and rate of messages. Each session has a thread of
its own, which ends with its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastnn._validation import check_bool, integer, must_be
from fastnn.playground.session import Session

STATIC = Path(__file__).with_name("static")
HOST = "127.0.0.1"
#: Names by which a browser on this machine reaches the server.
NAMES = ("127.0.0.1", "localhost")
MOST_SESSIONS = 16
#: Bytes of one message: a CSV of a million characters, and some more.
MOST_BYTES = 2_000_000
#: Messages per second, above which a session waits.
MOST_MESSAGES = 500
#: Levels of brackets in a message.
MOST_LEVELS = 8
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def read_message(text: str | bytes) -> Any:
    """Return a message from JSON.

    Raises
    ------
    ValueError
        If it is no JSON, deeper than `MOST_LEVELS`, or has numbers that are none.
    """
    if not isinstance(text, str):
        raise ValueError(must_be("a message", "text", "bytes"))

    def refuse(name: str) -> None:
        raise ValueError(must_be("a message", "JSON without NaN and Infinity", name))

    try:
        message = json.loads(text, parse_constant=refuse)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(must_be("a message", "JSON", text[:60])) from error
    levels, items = 0, [message]
    while items:
        levels += 1
        if levels > MOST_LEVELS:
            raise ValueError(must_be("a message", f"JSON of at most {MOST_LEVELS} levels", text[:60]))
        inner = [item.values() if isinstance(item, dict) else item for item in items if isinstance(item, dict | list)]
        items = [item for part in inner for item in part]
    return message


class Worker:
    """A thread that answers the messages of one session, one after the other.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._jobs: queue.SimpleQueue[tuple[Any, Callable[[], None]] | None] = queue.SimpleQueue()
        # A daemon: a compilation must not delay the end of the process.
        threading.Thread(target=self._run, name="fastnn-playground", daemon=True).start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            message, done = job
            try:
                self._session.handle(message)
            finally:
                done()

    async def handle(self, message: Any) -> None:
        """Answer a message; return when that is done."""
        loop, finished = asyncio.get_running_loop(), asyncio.Event()

        def done() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finished.set)

        self._jobs.put((message, done))
        await finished.wait()

    def close(self) -> None:
        """End the thread after the message that it answers."""
        self._jobs.put(None)


def _tornado() -> Any:
    try:
        import tornado.httpserver
        import tornado.web
        import tornado.websocket
    except ImportError:
        raise ImportError(
            'the playground needs tornado, which is not installed: pip install "fastnn-mlp[playground]".'
        ) from None
    return tornado


def application(text: str | None = None) -> Any:
    """Return the tornado application.

    Parameters
    ----------
    text : str or None
        CSV that each session begins with.

    Returns
    -------
    tornado.web.Application

    Raises
    ------
    ImportError
        If tornado is not installed.
    ValueError
        If `text` is no such data.
    """
    tornado = _tornado()
    Session(lambda message, buffers: None, text)  # raises for data that cannot be read
    sessions: set[Any] = set()

    def is_local(handler: Any) -> bool:
        """Return whether the request names this machine: another name leads here by a forged entry of a DNS server."""
        return bool(handler.request.host_name in NAMES)

    class File(tornado.web.StaticFileHandler):  # type: ignore[misc, name-defined]
        """A file of the page."""

        def prepare(self) -> None:
            if not is_local(self):
                raise tornado.web.HTTPError(403, "foreign Host")

        def set_extra_headers(self, path: str) -> None:
            for name, value in _HEADERS.items():
                self.set_header(name, value)

    class Socket(tornado.websocket.WebSocketHandler):  # type: ignore[misc, name-defined]
        """The WebSocket of one session."""

        worker: Worker | None = None
        allowance, at = float(MOST_MESSAGES), 0.0

        def prepare(self) -> None:
            if not is_local(self):
                raise tornado.web.HTTPError(403, "foreign Host")
            # A page of another port of this machine is foreign, too, and so is what is no page.
            if self.request.headers.get("Origin") != f"http://{self.request.host}":
                raise tornado.web.HTTPError(403, "foreign Origin")

        def check_origin(self, origin: str) -> bool:
            return True  # checked above, as versions of tornado differ in what they ask for here

        def open(self, *args: str, **kwargs: str) -> None:
            if len(sessions) >= MOST_SESSIONS:
                self.close(1013, f"at most {MOST_SESSIONS} sessions")
            else:
                sessions.add(self)
                loop = asyncio.get_running_loop()

                def send(message: dict[str, Any], buffers: Sequence[bytes]) -> None:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(self.deliver, message, buffers)

                self.set_nodelay(True)
                self.worker = Worker(Session(send, text))

        def deliver(self, message: dict[str, Any], buffers: Sequence[bytes]) -> None:
            head = json.dumps({**message, "buffers": len(buffers)}, allow_nan=False)
            with contextlib.suppress(tornado.websocket.WebSocketClosedError):  # the page has gone
                for part, binary in ((head, False), *((buffer, True) for buffer in buffers)):
                    self.written = self.write_message(part, binary=binary)
                    # Its error is not reported: that the page has gone is no error.
                    self.written.add_done_callback(lambda done: done.cancelled() or done.exception())

        # The next message is read when this is done: a page that sends faster waits.
        async def on_message(self, text: str | bytes) -> None:
            if self.worker is None:
                return
            now = asyncio.get_running_loop().time()
            self.allowance = min(MOST_MESSAGES, self.allowance + (now - self.at) * MOST_MESSAGES) - 1.0
            self.at = now
            if self.allowance < 0.0:
                await asyncio.sleep(-self.allowance / MOST_MESSAGES)
            try:
                message = read_message(text)
            except ValueError as error:
                self.deliver({"type": "error", "message": str(error), "request": None}, ())
            else:
                try:
                    await self.worker.handle(message)
                except asyncio.CancelledError:  # the server ends
                    return
            if self.ws_connection is not None and hasattr(self, "written"):
                try:
                    await self.written  # a page that does not read gets no more
                except tornado.websocket.WebSocketClosedError:  # what it has sent before is not answered
                    self.on_close()

        def on_close(self) -> None:
            sessions.discard(self)
            if self.worker is not None:
                self.worker.close()
                self.worker = None

    return tornado.web.Application(
        [
            ("/socket", Socket),
            (r"/(.*)", File, {"path": str(STATIC), "default_filename": "index.html"}),
        ],
        compress_response=True,
        websocket_max_message_size=MOST_BYTES,
        log_function=lambda handler: None,
    )


async def _run(app: Any, port: int, started: Callable[[str], None]) -> None:
    from tornado.httpserver import HTTPServer

    try:
        own = socket.create_server((HOST, port))
    except OSError as error:
        raise OSError(f"port must be a free one, got {port} ({error.strerror}). Port 0 takes any.") from None
    server = HTTPServer(app, max_body_size=100_000, max_header_size=20_000, idle_connection_timeout=600)
    own.setblocking(False)
    server.add_socket(own)
    started(f"http://{HOST}:{own.getsockname()[1]}/")
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()


def serve(
    *,
    port: int = 0,
    browser: bool = True,
    data: str | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Run the playground until Ctrl-C.

    Parameters
    ----------
    port : int
        0 for any that is free.
    browser : bool
        Whether to open the page in the browser.
    data : str or None
        Text of a CSV file to begin with: two inputs and a label per line.
    started : callable or None
        Called with the address once the server answers; None prints it.

    Raises
    ------
    ImportError
        If tornado is not installed.
    TypeError, ValueError
        If an argument is invalid, or `data` cannot be read; with the number of the line.
    OSError
        If the port is in use.
    KeyboardInterrupt
        After Ctrl-C.
    """
    port = integer("port", port, least=0)
    if port > 65535:
        raise ValueError(must_be("port", "at most 65535", port))
    check_bool(browser, "browser")

    def ready(address: str) -> None:
        if started is not None:
            started(address)
        else:
            print(f"fastnn playground: {address} (Ctrl-C ends it)", flush=True)
        if browser:
            threading.Thread(target=_open, args=(address,), daemon=True).start()

    asyncio.run(_run(application(data), port, ready))


def _open(address: str) -> None:
    if not webbrowser.open(address):
        print(f"no browser was found: open {address}", file=sys.stderr)
