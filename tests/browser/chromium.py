"""A headless Chromium for tests: open a page, act in it, look at it, have axe-core judge it.

It speaks the DevTools protocol over one WebSocket; nothing is fetched from elsewhere.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from websockets.sync.client import connect

AXE = Path(__file__).parent / "axe-core" / "axe.min.js"
START_S = 60.0
WAIT_S = 60.0
"""A page on a busy machine may take so long; one that never comes ends the test all the same."""
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def find_chromium():
    """Return the browser's path; None where there is none."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Chromium:
    """One browser process; each `tab` has cookies and storage of its own."""

    def __init__(self, path, profile):
        self._open = ExitStack()
        self._process = subprocess.Popen(
            [path, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--force-device-scale-factor=1", "--remote-debugging-port=0",
             "--font-render-hinting=none", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        told, give_up_at = profile / "DevToolsActivePort", time.monotonic() + START_S
        while not told.exists() or "\n" not in told.read_text():
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                self.close()
                raise RuntimeError("chromium did not start")
            time.sleep(0.05)
        port, path = told.read_text().split("\n")[:2]
        # No pings: what the page tells while a test does other things fills the queue, and behind
        # it no answer to a ping is read.
        self._socket = self._open.enter_context(
            connect(f"ws://127.0.0.1:{port}{path}", max_size=None, ping_interval=None)
        )
        self._numbers = itertools.count(1)
        self.events = []
        """What the browser told unasked: (session, method, parameters)."""

    def close(self):
        """End the browser."""
        self._open.close()
        self._process.kill()
        self._process.wait()

    def tab(self, size="desktop", dark=False):
        """Open an empty tab; `size` is of SIZES, or a width and a height."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]  # fmt: skip
        return Tab(self, session, SIZES.get(size, size), dark)

    def call(self, method, session=None, **parameters):
        """Send a command and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            reply = json.loads(self._socket.recv(timeout=WAIT_S))
            if reply.get("id") == number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']['message']}")
                return reply["result"]
            if "method" in reply:
                self.events.append((reply.get("sessionId"), reply["method"], reply["params"]))


class Tab:
    """One page at a time, in one size and one colour scheme."""

    def __init__(self, browser, session, size, dark):
        self._browser, self._session = browser, session
        self.width, self.height = size
        self._call("Page.enable")
        self._call("Runtime.enable")
        self._call("Log.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=self.width, height=self.height, deviceScaleFactor=1, mobile=self.width < 600,
        )  # fmt: skip
        scheme = "dark" if dark else "light"
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self._call("Emulation.setEmulatedMedia", features=features)

    def open(self, url, until="document.readyState === 'complete'"):
        """Go to an address and wait until a JavaScript expression is true."""
        self._call("Page.navigate", url=url)
        self.wait(f"location.href !== 'about:blank' && ({until})")

    def wait(self, expression):
        """Wait until a JavaScript expression is true."""
        give_up_at = time.monotonic() + WAIT_S
        while not self.run(f"Boolean({expression})"):
            if time.monotonic() > give_up_at:
                text = self.run("document.body.innerText")
                raise AssertionError(f"never true: {expression}\n{self.troubles}\n{text[:2000]}")
            time.sleep(0.05)

    def run(self, expression):
        """Evaluate JavaScript, also a promise, and return its value."""
        found = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"].get("exception", found))
        return found["result"].get("value")

    def press(self, *keys):
        """Press keys by their names, one after the other: Tab, Enter, Escape."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        for key in keys:
            down = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            text = {"Enter": "\r", " ": " "}.get(key)
            self._call(
                "Input.dispatchKeyEvent", type="keyDown", **down, **({"text": text} if text else {})
            )
            self._call("Input.dispatchKeyEvent", type="keyUp", **down)

    def type(self, text):
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    @property
    def troubles(self):
        """Errors that the page threw or the console shows: a broken script, a refused style."""
        found = []
        for session, method, told in self._browser.events:
            if session != self._session:
                continue
            if method == "Runtime.exceptionThrown":
                found.append(told["exceptionDetails"].get("exception", {}).get("description"))
            elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
                found.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        return found

    def screenshot(self, path, *, whole=True):
        """Write what is seen as PNG: the whole page, or the first screen of it."""
        options = {}
        if whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": self.width, "height": size["height"], "scale": 1}
            options = {"clip": clip, "captureBeyondViewport": True}
        data = self._call("Page.captureScreenshot", format="png", **options)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))

    def faults(self):
        """What axe-core finds that is serious or critical: (rule, impact, where, what)."""
        self.run(AXE.read_text("utf-8") + "; true")
        found = self.run("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
        return [
            (rule["id"], rule["impact"], node["html"][:200], node.get("failureSummary", "")[:300])
            for rule in found
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    def wider_than_its_screen(self):
        """Elements that make the page scroll sideways; what scrolls by itself may be wider."""
        return self.run(
            """(() => {
              const width = document.documentElement.clientWidth, found = [];
              if (document.documentElement.scrollWidth <= width) return found;
              for (const one of document.querySelectorAll("body *"))
                if (one.getBoundingClientRect().right > width + 1)
                  found.push(one.outerHTML.slice(0, 120));
              return found.slice(0, 5);
            })()"""
        )

    def _call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)
