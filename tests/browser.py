"""A real headless browser (Debian's chromium), driven by its DevTools protocol: it opens, asks and photographs."""

import asyncio
import base64
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.programs import Programs

CHROMIUM = Programs(("chromium|chromium-browser|google-chrome",), "chromium")
PATIENCE = 60.0
"""Seconds until what a page should come to is given up; the machine may be busy."""


class Page:
    """One tab. `errors` are what its console and its scripts complained of, `requests` the addresses it asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: WebSocketClientConnection) -> None:
        self._loop, self._connection, self._number = loop, connection, 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer."""
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(method, params), PATIENCE))

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._connection.write_message(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = await self._connection.read_message()
            assert message is not None, "the browser has gone"
            answer = json.loads(message)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method"), answer.get("params", {}))

    def _note(self, event: str | None, about: dict[str, Any]) -> None:
        match event:
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(about["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if about["type"] == "error":
                self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in about["args"]))
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.errors.append(about["entry"]["text"] + " " + about["entry"].get("url", ""))
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def offline(self) -> None:
        """No network from now on."""
        self.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        answer = self.ask("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, or of its promise."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def until(self, expression: str, *, true: Callable[[Any], bool] = bool) -> Any:
        """Wait until an expression has a value that is so; that value."""
        end = time.monotonic() + PATIENCE
        while not true(value := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} is still {value!r}; the page complained: {self.errors}"
            self._loop.run_until_complete(asyncio.sleep(0.05))
        return value

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """What is seen as a PNG, or the whole page."""
        answer = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        """The page as it is printed, on A4."""
        answer = self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path


class Browser:
    """A browser that is running."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self._loop, self._port = loop, port

    def page(self, url: str = "", *, width: int = 1280, height: int = 900) -> Page:
        """A new tab, at an address if there is one."""
        at = Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urlopen(at, timeout=PATIENCE) as answer:
            target = json.load(answer)["webSocketDebuggerUrl"]
        page = Page(self._loop, self._loop.run_until_complete(_connected(target)))
        page.size(width, height)
        if url:
            page.open(url)
        return page


async def _connected(target: str) -> WebSocketClientConnection:
    return await websocket_connect(target, max_message_size=1 << 28)  # pictures are long messages


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser of its own profile, ended at the end. Skip where CHROMIUM is lacking."""
    program = CHROMIUM.find(*CHROMIUM.names)
    assert program is not None, CHROMIUM.lacking
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        said = Path(profile) / "DevToolsActivePort"
        process = subprocess.Popen(
            [program, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + PATIENCE
            while not (said.is_file() and said.read_text().count("\n")):
                assert process.poll() is None, f"chromium ended with {process.returncode}"
                assert time.monotonic() < end, "chromium does not say on which port it listens"
                time.sleep(0.05)
            yield Browser(loop, int(said.read_text().split()[0]))
        finally:
            process.terminate()
            process.wait(PATIENCE)
            loop.close()
