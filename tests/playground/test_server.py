"""The server of the playground: what it serves, whom it refuses, and what it survives."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from driver import COMMAND

tornado = pytest.importorskip("tornado")
pytest.importorskip("tornado.websocket")

from tornado.httpclient import AsyncHTTPClient, HTTPRequest  # noqa: E402  # after the skip
from tornado.httpserver import HTTPServer  # noqa: E402  # after the skip
from tornado.netutil import bind_sockets  # noqa: E402  # after the skip
from tornado.websocket import websocket_connect  # noqa: E402  # after the skip

from fastnn.__main__ import main  # noqa: E402  # after the skip
from fastnn.playground import server  # noqa: E402  # after the skip


class Client:
    """A page: one WebSocket."""

    def __init__(self, host, *, origin=None, name=None):
        headers = {"Origin": origin or f"http://{host}"}
        if name is not None:
            headers["Host"] = name
        self._request = HTTPRequest(f"ws://{host}/socket", headers=headers)

    async def __aenter__(self):
        self.socket = await websocket_connect(self._request, max_message_size=10**8)
        self.ended = False
        return self

    async def __aexit__(self, *_):
        self.socket.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained(), 10)

    async def _drained(self):
        while not self.ended:
            self.ended = await self.socket.read_message() is None

    async def send(self, **message):
        await self.socket.write_message(json.dumps(message))

    async def receive(self):
        """Return the next message with its buffers; None at the end."""
        text = await asyncio.wait_for(self.socket.read_message(), 60)
        if text is None:
            self.ended = True
            return None
        message = json.loads(text)
        return message, [await self.socket.read_message() for _ in range(message["buffers"])]

    async def until(self, kind):
        """Return the next message of a type, with its buffers."""
        while (answer := await self.receive()) is not None:
            if answer[0]["type"] == kind:
                return answer
        raise AssertionError(f"closed before {kind}")


@contextlib.asynccontextmanager
async def serving(text=None):
    """Serve on a free port; give its host."""
    sockets = bind_sockets(0, server.HOST)
    http = HTTPServer(server.application(text))
    http.add_sockets(sockets)
    try:
        yield f"{server.HOST}:{sockets[0].getsockname()[1]}"
    finally:
        http.stop()
        await http.close_all_connections()


def threads():
    return sum(thread.name == "fastnn-playground" for thread in threading.enumerate())


async def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def served(test, text=None):
    """Run a test against a server; no thread of a session is left after it."""

    async def run():
        async with serving(text) as host:
            await test(host)
            await until(lambda: threads() == 0)

    asyncio.run(run())


def test_a_session_over_the_socket():
    async def test(host):
        async with Client(host) as page:
            await page.send(type="hello", state={"seed": "1"})
            state, _ = await page.receive()
            assert state["type"] == "state"
            frame, buffers = await page.until("frame")
            assert [len(buffer) for buffer in buffers] == [10_000, 700]
            await page.send(type="play")
            for _ in range(3):
                await page.send(type="next")
                frame, _ = await page.until("frame")
            assert frame["epoch"] >= 3
            assert threads() == 1

    served(test)


def test_the_page_and_its_files():
    async def test(host):
        client = AsyncHTTPClient()
        for name, kind in (("", "text/html"), ("playground.js", "javascript"), ("style.css", "text/css")):
            answer = await client.fetch(f"http://{host}/{name}")
            assert kind in answer.headers["Content-Type"]
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert b"http://" not in answer.body.replace(b"http://www.w3.org/", b"")
            assert b"https://" not in answer.body
        for path in ("nothing.js", "../session.py", "%2e%2e/session.py", "..%2fsession.py"):
            answer = await client.fetch(f"http://{host}/{path}", raise_error=False)
            assert answer.code in (403, 404)

    served(test)


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.1"])
def test_a_foreign_host_is_refused(name):
    async def test(host):
        answer = await AsyncHTTPClient().fetch(f"http://{host}/", headers={"Host": name}, raise_error=False)
        assert answer.code == 403
        with pytest.raises(tornado.httpclient.HTTPClientError, match="403"):
            async with Client(host, origin=f"http://{name}", name=name):
                pass

    served(test)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{host}", "http://localhost"]
)
def test_a_foreign_origin_is_refused(origin):
    async def test(host):
        with pytest.raises(tornado.httpclient.HTTPClientError, match="403"):
            async with Client(host, origin=origin.format(host=host)):
                pass

    served(test)


def test_no_origin_is_refused():
    async def test(host):
        with pytest.raises(tornado.httpclient.HTTPClientError, match="403"):
            await websocket_connect(f"ws://{host}/socket")

    served(test)


def test_localhost_is_this_machine():
    async def test(host):
        name = host.replace("127.0.0.1", "localhost")
        async with Client(host, origin=f"http://{name}", name=name) as page:
            await page.send(type="hello", state={})
            await page.until("frame")

    served(test)


def test_two_sessions_are_independent():
    async def test(host):
        async with Client(host) as one, Client(host) as other:
            for page in (one, other):
                await page.send(type="hello", state={"seed": "1"})
                await page.until("frame")
            await one.send(type="step")
            await other.send(type="next")
            assert (await one.until("frame"))[0]["epoch"] == 1
            assert (await other.until("frame"))[0]["epoch"] == 0
            assert threads() == 2

    served(test)


def test_number_of_sessions_is_bounded(monkeypatch):
    monkeypatch.setattr(server, "MOST_SESSIONS", 2)

    async def test(host):
        async with Client(host), Client(host), Client(host) as third:
            assert await third.receive() is None
            assert third.socket.close_code == 1013
        await until(lambda: threads() == 0)
        async with Client(host) as again:
            await again.send(type="hello", state={})
            await again.until("frame")

    served(test)


def test_close_in_the_middle():
    """A page that goes away while its session trains or writes."""

    async def test(host):
        for k in range(6):
            async with Client(host) as page:
                await page.send(type="hello", state={"networkShape": "64,64,64"})
                await page.until("state")
                await page.send(type="play")
                for _ in range(k):
                    await page.send(type="next")
        await until(lambda: threads() == 0)
        async with Client(host) as page:
            await page.send(type="hello", state={})
            await page.until("frame")

    served(test)


def test_a_page_that_does_not_read(monkeypatch):
    """It gets no more than fits on the way: the session waits."""
    handled = []
    handle = server.Session.handle
    monkeypatch.setattr(server.Session, "handle", lambda self, message: handled.append(1) or handle(self, message))

    async def test(host):
        reader, writer = await asyncio.open_connection(*host.split(":"))
        key = "GET /socket HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        key += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        writer.write(key.format(host).encode())
        await reader.readuntil(b"\r\n\r\n")
        message = b'{"type":"next"}'
        frame = bytes([0x81, 0x80 | len(message)]) + bytes(4) + message
        for _ in range(5000):
            writer.write(frame)
        before = -1
        while len(handled) > before:
            before = len(handled)
            await asyncio.sleep(1)
        assert 1 <= len(handled) < 4000
        async with Client(host) as page:
            await page.send(type="hello", state={})
            await page.until("frame")
        writer.transport.abort()

    served(test)


def test_messages_that_make_no_sense():
    rng = random.Random(3)

    def garbage():
        kind = rng.randrange(7)
        if kind == 0:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(50)))
        if kind == 1:
            return "".join(chr(rng.randrange(1, 0xD800)) for _ in range(rng.randrange(50)))
        if kind == 2:
            return "[" * rng.randrange(1, 5000)
        if kind == 3:
            return json.dumps({"type": "set", "changes": {"learningRate": float("nan")}})
        if kind == 4:
            value = rng.choice(["Infinity", "1e999", "-0", "01"])
            return f'{{"type":"weight","layer":0,"from":0,"to":0,"value":{value}}}'
        if kind == 5:
            return json.dumps({"type": rng.choice(["set", "next", "points", "net"]), "x": [[[[[[[[[1]]]]]]]]]})
        odd = [None, 1, "a", [], {}, {"type": None}, {"type": {}}, {"type": "hello", "state": 5}]
        return json.dumps(rng.choice(odd))

    async def test(host):
        async with Client(host) as page:
            for _ in range(1500):
                text = garbage()
                await page.socket.write_message(text, binary=isinstance(text, bytes))
                answer, _ = await page.receive()
                assert answer["type"] in ("error", "frame")
            await page.send(type="hello", state={"seed": "1"})
            frame, _ = await page.until("frame")
            assert frame["epoch"] == 0

    served(test)


def test_a_message_that_is_too_long_ends_the_session():
    async def test(host):
        async with Client(host) as page:
            await page.socket.write_message("x" * (server.MOST_BYTES + 1))
            assert await page.receive() is None
        async with Client(host) as page:
            await page.send(type="csv", text="1,2,a\n" * 100_000)
            answer, _ = await page.receive()
            assert "at most 5000 points" in answer["message"]

    served(test)


@pytest.mark.parametrize("text", ["[" * 10_000, '{"a":' * 10_000, "[" * 10_000 + "]" * 10_000, "NaN", "", "\0", b"{}"])
def test_text_that_is_no_message(text):
    with pytest.raises(ValueError, match="a message must be"):
        server.read_message(text)


def test_deep_messages_within_the_limit():
    assert server.read_message('{"a": [[[[[1]]]]]}') == {"a": [[[[[1]]]]]}
    assert server.read_message(json.dumps({"text": "[(" * 20, "a": [{}] * 20}))["a"] == [{}] * 20


def test_data_to_begin_with():
    async def test(host):
        async with Client(host) as page:
            await page.send(type="hello", state={})
            state, _ = await page.until("state")
            assert state["classNames"] == ["cat", "dog"]

    served(test, "1,2,cat\n2,3,dog\n")
    with pytest.raises(ValueError, match="line 2 must be"):
        server.application("1,2,cat\n2,3\n")


@pytest.mark.parametrize(
    ("given", "text"),
    [({"port": -1}, "port must"), ({"port": 65536}, "port must be at most 65535"), ({"browser": 1}, "browser must")],
)
def test_bad_arguments(given, text):
    with pytest.raises((TypeError, ValueError), match=text):
        server.serve(**given)


# ------------------------------------------------------------------------------------------------ the command


@contextlib.contextmanager
def command(*options):
    """Run the command; give the process and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "playground", "--no-browser", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, process.stderr.read()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_command_ends_with_ctrl_c_at_once():
    with command() as (process, address):

        async def play():
            async with Client(address[7:-1]) as page:
                await page.send(type="hello", state={"networkShape": "64,64,64", "epochsPerFrame": 1000})
                await page.until("frame")
                await page.send(type="play")
                await page.until("state")
                await page.send(type="next")
                await asyncio.sleep(0.05)
                process.send_signal(signal.SIGINT)
                return time.monotonic()

        then = asyncio.run(play())
        assert process.wait(20) == 130
        assert time.monotonic() - then < 10
        assert process.stderr.read() == ""


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc here")
def test_an_idle_server_does_nothing():
    with command() as (process, address):

        async def idle():
            async with Client(address[7:-1]) as page:
                await page.send(type="hello", state={})
                await page.until("frame")
                await asyncio.sleep(1.5)  # workers of predictions have ended
                before = cpu_seconds(process.pid)
                await asyncio.sleep(2)
                assert cpu_seconds(process.pid) - before <= 0.05

        asyncio.run(idle())


def test_it_listens_on_the_loopback_interface_alone():
    with command() as (_, address):
        port = int(address.rpartition(":")[2][:-1])
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))  # an address that would be taken by a server of all interfaces


def test_a_port_that_is_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["playground", "--no-browser", "--port", str(port)]) == 1
    assert f"port must be a free one, got {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--port", "x"], "argument --port: must be an integer from 0 to 65535, got 'x'"),
        (["--data", "no such file"], "argument --data: must be a file of text that can be read, got no such file"),
        (["--prot", "1"], "unrecognized arguments: --prot"),
    ],
)
def test_bad_options(options, text, capsys):
    with pytest.raises(SystemExit) as error:
        main(["playground", *options])
    assert error.value.code == 2
    assert text in capsys.readouterr().err


def test_bad_data_are_refused_with_their_line(tmp_path, capsys):
    file = tmp_path / "data.csv"
    file.write_text("x,y,label\n1,2,a\n1,2\n")
    with pytest.raises(SystemExit) as error:
        main(["playground", "--no-browser", "--data", str(file)])
    assert error.value.code == 2
    assert "data.csv: line 3 must be two numbers and a label" in capsys.readouterr().err


def test_without_tornado(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tornado", None)
    for name in ("tornado.httpserver", "tornado.web", "tornado.websocket"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["playground", "--no-browser"]) == 1
    assert 'pip install "fastnn-mlp[playground]"' in capsys.readouterr().err


def test_the_browser_is_opened(monkeypatch):
    opened = threading.Event()
    addresses = []
    monkeypatch.setattr(server.webbrowser, "open", lambda address: addresses.append(address) or opened.set() or True)

    async def stop(app, port, started):
        started("http://127.0.0.1:1/")

    monkeypatch.setattr(server, "_run", stop)
    printed = []
    server.serve(started=printed.append)
    assert opened.wait(5)
    assert printed == addresses == ["http://127.0.0.1:1/"]
