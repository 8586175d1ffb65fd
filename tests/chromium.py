"""Chromium without a window, for tests of pages: opened, clicked, printed, looked at.

It is spoken to in its DevTools protocol over two pipes, which needs no package and no port.
"""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
PATIENCE = 60.0  # s for an answer; far more than it takes

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome in PATH")


class Browser:
    """A Chromium of its own, which ends with the block.

    Parameters
    ----------
    folder
        Where it keeps its profile.
    """

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions",
            "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}",
            "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()

        def connect() -> None:  # Chromium reads from descriptor 3 and writes to 4
            read, write = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=connect,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._pending = b""
        self._sent = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.terminate()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:  # noqa: ANN401
        """Call a method of the protocol and return its result."""
        self._sent += 1
        number = self._sent
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._out, rest) :]
        deadline = time.monotonic() + PATIENCE
        while number not in self._answers:
            self.listen(deadline)
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        found: dict[str, Any] = answer["result"]
        return found

    def listen(self, deadline: float) -> None:
        """Take what Chromium says next."""
        ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, "Chromium does not answer"
        chunk = os.read(self._in, 1 << 20)
        assert chunk, "Chromium has ended"
        *whole, self._pending = (self._pending + chunk).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)

    def open(self, url: str, width: int = 1280, height: int = 900) -> Page:
        """Return a page once it is loaded; a narrow one is that of a phone."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, target, session, url, width, height)


class Page:
    """A page of a browser."""

    def __init__(
        self, browser: Browser, target: str, session: str, url: str, width: int, height: int
    ) -> None:
        self._browser, self._target, self._session = browser, target, session
        for part in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{part}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        begun = time.monotonic()
        self.send("Page.navigate", url=url)
        self._wait_for_event("Page.loadEventFired")
        self.load_seconds = time.monotonic() - begun

    def send(self, method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401
        """Call a method of the protocol for this page."""
        return self._browser.send(method, self._session, **params)

    def _events(self) -> list[dict[str, Any]]:
        return [e for e in self._browser.events if e.get("sessionId") == self._session]

    def _wait_for_event(self, method: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not any(event["method"] == method for event in self._events()):
            self._browser.listen(deadline)

    def run(self, script: str) -> Any:  # noqa: ANN401
        """Return the value of an expression, awaited if it is a promise."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)

    def texts(self, selector: str) -> list[str]:
        """Return the text of all elements that are shown."""
        script = f"""Array.from(document.querySelectorAll({json.dumps(selector)}))
            .filter((e) => e.getClientRects().length).map((e) => e.textContent.trim())"""
        found: list[str] = self.run(script)
        return found

    def middle(self, selector: str) -> tuple[float, float]:
        """Return where the middle of an element is, scrolled into view."""
        x, y = self.run(
            f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{ block: "center", behavior: "instant" }});
            const b = e.getBoundingClientRect();
            return [b.x + b.width / 2, b.y + b.height / 2]; }})()"""
        )
        return float(x), float(y)

    def click(self, selector: str, times: int = 1) -> None:
        """Click the middle of an element with the mouse."""
        x, y = self.middle(selector)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.send(
                    "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                    clickCount=count,
                )  # fmt: skip

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place and release it at another."""
        for kind, (x, y) in (
            ("mouseMoved", start), ("mousePressed", start), ("mouseMoved", end),
            ("mouseReleased", end),
        ):  # fmt: skip
            pressed = {"button": "left", "buttons": 1, "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def drop(self, selector: str, files: Sequence[Path]) -> None:
        """Drop files over an element, as from the desktop."""
        x, y = self.middle(selector)
        data = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def type(self, selector: str, text: str) -> None:
        """Put a text in place of what an input holds."""
        self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
                 "e.focus(); e.select(); })()")  # fmt: skip
        if text:
            self.send("Input.insertText", text=text)
            return
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key="Delete", windowsVirtualKeyCode=46,
                code="Delete",
            )  # fmt: skip

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list."""
        self.run(
            f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change')); }})()"""
        )

    def pdf(self) -> bytes:
        """Return the page as it is printed on A4."""
        answer = self.send(
            "Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69,
            preferCSSPageSize=True,
        )  # fmt: skip
        return base64.b64decode(answer["data"])

    def problems(self) -> list[str]:
        """Return errors, warnings and dialogs so far, and what was loaded from elsewhere."""
        found = []
        for event in self._events():
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif method == "Page.javascriptDialogOpening":
                found.append(f"dialog {params['message']}")
        return found

    def requests(self) -> list[str]:
        """Return the addresses that were asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._events()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """Close the page."""
        self._browser.send("Target.closeTarget", targetId=self._target)


def pages_of(pdf: bytes) -> int:
    """Return how many pages a PDF of Chromium's has."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))
