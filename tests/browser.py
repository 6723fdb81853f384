"""A headless Chromium, asked over a pipe: no package and no port is needed.

The DevTools protocol is JSON, each message ended by a zero byte: Chromium reads from its file 3 and
writes to its file 4. `python tests/browser.py PAGE PICTURE` makes the still of the moving page.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PATIENCE = 60  # seconds
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

AS_3_AND_4 = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def chromium() -> str | None:
    """Where Chromium or Chrome is; NNREF_CHROMIUM may say so. None if there is none, or no pipe."""
    if os.name != "posix":
        return None
    return os.environ.get("NNREF_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a browser of its own: open, ask, press keys, take pictures."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="nnref-browser-")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        pipes = [str(theirs_in), str(theirs_out)]
        command = [chromium(), *flags, f"--user-data-dir={self.home}", "about:blank"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", AS_3_AND_4, *pipes, *command],
            pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.read, self.write = ours_in, os.fdopen(ours_out, "wb")
        self.count, self.session, self.heard, self.read_ahead = 0, None, [], b""
        pages = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in pages if target["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Send a command, and return its result; what happens meanwhile goes to `heard`."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.write.write(json.dumps(message).encode() + b"\0")
        self.write.flush()
        while (answer := self.next()).get("id") != self.count:
            self.heard.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def next(self):
        """The next message."""
        while b"\0" not in self.read_ahead:
            if not select.select([self.read], [], [], PATIENCE)[0]:
                raise RuntimeError(f"the browser has said nothing for {PATIENCE} s")
            if not (more := os.read(self.read, 1 << 16)):
                raise RuntimeError("the browser is gone")
            self.read_ahead += more
        message, _, self.read_ahead = self.read_ahead.partition(b"\0")
        return json.loads(message)

    def open(self, page: Path, width=1280, height=900, scale=1, **media):
        """Load a file, in a window of this size; `media` are features, as prefers_color_scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=width < 600,
        )  # fmt: skip
        features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Emulation.setScrollbarsHidden", hidden=True)
        self.heard.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.heard):
            self.heard.append(self.next())

    def ask(self, expression: str):
        """The value of a JavaScript expression."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = ""):
        """Press and release a key, as a hand would."""
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    def mouse(self, kind: str, x: float, y: float):
        """`kind` is mousePressed, mouseMoved or mouseReleased."""
        self.send(
            "Input.dispatchMouseEvent",
            type=kind, x=x, y=y, button="left", buttons=int(kind != "mouseReleased"), clickCount=1,
        )  # fmt: skip

    def picture(self, selector: str | None = None) -> bytes:
        """A PNG of the whole page, or of one element."""
        box = self.ask(
            f"(() => {{const b = document.querySelector({json.dumps(selector or 'html')})"
            ".getBoundingClientRect();"
            "return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height}})()"
        )
        shot = self.send("Page.captureScreenshot", clip={**box, "scale": 1},
                         captureBeyondViewport=True)  # fmt: skip
        return base64.b64decode(shot["data"])

    def troubles(self) -> list[str]:
        """Exceptions and errors since the page was opened, and all that it asked for elsewhere."""
        found = []
        for event in self.heard:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                found += [] if url.startswith("file:") else [url]
        return found

    def close(self):
        """End the browser, and remove its folder."""
        self.write.close()  # the browser ends when this pipe is closed
        os.close(self.read)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.home, ignore_errors=True)


def still(page: Path, picture: Path):
    """Write a PNG of the page's student under a random B at step 300, without its sliders."""
    browser = Browser()
    try:
        browser.open(page, width=720, scale=2, prefers_color_scheme="light")
        browser.ask("nnref.start({}); for (let i = 0; i < 300; i++) nnref.step(1)")
        browser.ask("$('more').hidden = $('say').hidden = true; draw()")
        picture.write_bytes(browser.picture("#student"))
    finally:
        browser.close()


if __name__ == "__main__":
    still(*map(Path, sys.argv[1:]))
