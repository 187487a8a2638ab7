"""Chromium without a window, driven by its DevTools protocol over a WebSocket.

`Browser` starts it once; `Browser.open` returns a `Tab` on a new page. A tab records errors of the page and the
addresses it has asked for, so that a test can require that there were none.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
SECONDS = 20.0
SHIFT, CONTROL = 8, 2
#: Code and virtual key code of the keys that are not a letter.
KEYS = {
    " ": ("Space", 32), "Enter": ("Enter", 13), "Tab": ("Tab", 9), "Escape": ("Escape", 27),
    "ArrowLeft": ("ArrowLeft", 37), "ArrowUp": ("ArrowUp", 38), "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40),
}  # fmt: skip


class Browser:
    """One running Chromium with a profile of its own, which is removed at the end."""

    def __init__(self) -> None:
        if PROGRAM is None:
            raise FileNotFoundError("Chromium is not installed")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        self.process = subprocess.Popen(
            [PROGRAM, *ARGUMENTS, f"--user-data-dir={self.profile}", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        for line in self.process.stderr:
            found = re.search(r"ws://([^/]+)/", line)
            if found:
                self.host = found[1]
                break
        else:
            raise RuntimeError("Chromium ended before it listened")
        # Else a pipe that is full would stop the browser.
        self.reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.reader.start()
        self.tabs: list[Tab] = []

    def run(self, coroutine: Any) -> Any:
        """Return the result of a coroutine that runs on the thread of the browser."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SECONDS)

    def open(self, url: str = "about:blank", **settings: Any) -> Tab:
        """Return a new tab on a page; `settings` are those of `Tab.emulate`."""

        async def connect() -> Any:
            answer = await AsyncHTTPClient().fetch(f"http://{self.host}/json/new?about:blank", method="PUT", body="")
            target = json.loads(answer.body)
            return await websocket_connect(target["webSocketDebuggerUrl"], max_message_size=1 << 28)

        tab = Tab(self, self.run(connect()))
        self.tabs.append(tab)
        tab.emulate(**settings)
        if url != "about:blank":
            tab.go(url)
        return tab

    def close(self) -> None:
        """End the browser and remove its profile."""
        for tab in self.tabs:
            self.loop.call_soon_threadsafe(tab.socket.close)
            tab.listener.result(SECONDS)
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        shutil.rmtree(self.profile, ignore_errors=True)


class Tab:
    """One page, with keyboard, mouse and touch."""

    def __init__(self, browser: Browser, socket: Any) -> None:
        self.browser, self.socket = browser, socket
        self.count = 0
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.received: list[dict[str, Any]] = []
        self.bytes = 0
        self.listener = asyncio.run_coroutine_threadsafe(self._listen(), browser.loop)
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")

    async def _listen(self) -> None:
        while (text := await self.socket.read_message()) is not None:
            message = json.loads(text)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message)
            else:
                self._event(message["method"], message["params"])

    def _event(self, method: str, values: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(values["exceptionDetails"])[:600])
        elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.errors.append(values["entry"]["text"] + " " + values["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(values["url"])
        elif method == "Network.webSocketFrameReceived" and values["response"]["opcode"] == 1:
            self.received.append(json.loads(values["response"]["payloadData"]))
        elif method == "Network.loadingFinished":
            self.bytes += int(values["encodedDataLength"])

    def call(self, method: str, **values: Any) -> Any:
        """Return the result of a DevTools method."""

        async def ask() -> Any:
            self.count += 1
            future = self.waiting[self.count] = self.browser.loop.create_future()
            await self.socket.write_message(json.dumps({"id": self.count, "method": method, "params": values}))
            return await future

        message = self.browser.run(ask())
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def emulate(
        self, *, width: int = 1360, height: int = 1000, dark: bool = False, touch: bool = False, still: bool = False
    ) -> None:
        """Set the size of the window and what the page's media queries find."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def go(self, url: str) -> None:
        """Load a page. Only a change of the hash does not load it anew: this does."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, a promise's when it is kept."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {json.dumps(answer['exceptionDetails'])[:600]}")
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 10.0) -> Any:
        """Return the value of an expression once it is true; it is asked for every 20 ms."""
        end = time.monotonic() + seconds
        tried = f"try {{ const v = {expression}; return v instanceof Node || v }} catch (e) {{ return null }}"
        while not (value := self.evaluate(f"(() => {{ {tried} }})()")):
            assert time.monotonic() < end, f"{expression} was not true within {seconds} s, errors: {self.errors}"
            time.sleep(0.02)
        return value

    def last(self, kind: str) -> dict[str, Any]:
        """Return the last message of a type that came over the page's WebSocket."""
        return next(message for message in reversed(self.received) if message["type"] == kind)

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def place(self, selector: str) -> tuple[float, float]:
        """Scroll an element into view and return its middle."""
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2] })()"
        )
        return box[0], box[1]

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, x: float, y: float, *, modifiers: int = 0) -> None:
        """Click at a place."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1, modifiers=modifiers)

    def click(self, selector: str, *, modifiers: int = 0) -> None:
        """Click the middle of an element."""
        self.press(*self.place(selector), modifiers=modifiers)

    def tap(self, x: float, y: float) -> None:
        """Touch a place with one finger."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, key: str, *, modifiers: int = 0) -> None:
        """Press and release one key."""
        code, number = KEYS[key] if key in KEYS else (f"Key{key.upper()}", ord(key.upper()))
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        values = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **values)
        self.call("Input.dispatchKeyEvent", type="keyUp", **values)

    def type(self, text: str) -> None:
        """Write text into what has the focus."""
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: Any) -> None:
        """Set a select, a slider or a box to a value, as a user does."""
        self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            "for (const type of ['input', 'change']) e.dispatchEvent(new Event(type, {bubbles: true})) })()"
        )

    def screenshot(self, path: Path, *, full: bool = False) -> None:
        """Write the picture of the page as PNG; `full` takes what is below the window, too."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """Close the tab."""
        self.call("Page.close")
