"""Drive Chromium by the DevTools protocol, over tornado: pages, clicks, keys, pictures, and what went wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request

from tornado.websocket import websocket_connect

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--mute-audio", "--remote-debugging-port=0",
]  # fmt: skip


def find():
    """Path of Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page. ``async with Browser() as browser:``; `errors` are exceptions of its scripts, and errors in its log."""

    def __init__(self, *, width=1280, height=900, dark=False, touch=False):
        self.size, self.dark, self.touch = (width, height), dark, touch
        self.errors, self.requests, self.events = [], [], []
        self._answers, self._number = {}, 0

    async def __aenter__(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [find(), *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            for line in self._process.stderr:
                found = re.search(r"ws://[^/]*:(\d+)/", line)
                if found:
                    break
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/json") as answer:
                page = next(target for target in json.load(answer) if target["type"] == "page")
            self._socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=2**28)
            self._reader = asyncio.create_task(self._read())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await self.send(f"{domain}.enable")
            await self.resize(*self.size)
            theme = {"name": "prefers-color-scheme", "value": "dark" if self.dark else "light"}
            await self.send("Emulation.setEmulatedMedia", features=[theme])
            if self.touch:
                await self.send("Emulation.setTouchEmulationEnabled", enabled=True)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *_):
        self._reader.cancel()
        self._socket.close()
        self._end()

    def _end(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stderr.close()
        self._folder.cleanup()

    async def _read(self):
        while (text := await self._socket.read_message()) is not None:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
                continue
            self.events.append(message)
            method, params = message["method"], message["params"]
            if method == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                self.errors.append(params["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    async def send(self, method, **params):
        """Call a method of the protocol and return its result."""
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": params}))
        message = await asyncio.wait_for(answer, 30)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    async def open(self, address):
        """Open a page and wait until it is loaded."""
        self.events.clear()
        await self.send("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            await asyncio.sleep(0.01)

    async def run(self, script):
        """Return the value of an expression of JavaScript; a promise is waited for."""
        found = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", script))
        return found["result"].get("value")

    async def until(self, script, seconds=10):
        """Wait until an expression is true, and return its value."""
        for _ in range(int(seconds / 0.02)):
            value = await self.run(script)
            if value:
                return value
            await asyncio.sleep(0.02)
        raise TimeoutError(f"{script} was not true within {seconds} s; errors: {self.errors}")

    async def place(self, selector):
        """Return the middle of an element, scrolled into view."""
        element = f"document.querySelector({json.dumps(selector)})"
        return await self.run(
            f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center', inline: 'center'}}); "
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )

    async def mouse(self, kind, x, y, *, button="none", modifiers=0):
        """Send a mouse event: "mouseMoved", "mousePressed" or "mouseReleased"."""
        await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, modifiers=modifiers,
                        clickCount=int(button != "none"), buttons=int(kind == "mousePressed"))  # fmt: skip

    async def hover(self, selector):
        await self.mouse("mouseMoved", *await self.place(selector))

    async def click(self, selector, *, modifiers=0):
        await self.click_at(*await self.place(selector), modifiers=modifiers)

    async def click_at(self, x, y, *, modifiers=0):
        await self.mouse("mouseMoved", x, y, modifiers=modifiers)
        await self.mouse("mousePressed", x, y, button="left", modifiers=modifiers)
        await self.mouse("mouseReleased", x, y, button="left", modifiers=modifiers)

    async def tap(self, selector):
        x, y = await self.place(selector)
        await self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        await self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def key(self, key, *, code=None, text=None, modifiers=0):
        """Press a key, such as "s", " " or "ArrowRight"."""
        names = {" ": ("Space", 32), "Enter": ("Enter", 13), "Tab": ("Tab", 9), "Escape": ("Escape", 27),
                 "ArrowLeft": ("ArrowLeft", 37), "ArrowUp": ("ArrowUp", 38), "ArrowRight": ("ArrowRight", 39),
                 "ArrowDown": ("ArrowDown", 40)}  # fmt: skip
        own, number = names.get(key, (f"Key{key.upper()}", ord(key[0].upper())))
        text = text if text is not None else {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        event = {"key": key, "code": code or own, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        kind, more = ("keyDown", {"text": text}) if text else ("rawKeyDown", {})
        await self.send("Input.dispatchKeyEvent", type=kind, **event, **more)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    async def type(self, text):
        await self.send("Input.insertText", text=text)

    async def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": self.touch}
        await self.send("Emulation.setDeviceMetricsOverride", **size)

    async def picture(self, path):
        """Write a picture of the whole page."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
