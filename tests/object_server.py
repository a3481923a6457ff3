"""A server that speaks S3, on this machine, and what it was asked for."""

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

BUCKET = "surveys"
SECRET = "a-secret-of-the-tests"

LISTENS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")
ASKED = re.compile(r'"(?:\x1b\[[0-9;]*m)*([A-Z]+) (\S+) HTTP')


class ObjectServer:
    """A running server; it notes every request."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._news = Condition()
        self._lines: list[str] = []
        self._reader = Thread(target=self._read)
        self._reader.start()
        self.url = self._wait(LISTENS).group(1)
        urlopen(Request(f"{self.url}/{BUCKET}", method="PUT"), timeout=30).close()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "a-key-of-the-tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def forget(self) -> None:
        """Begin to note anew."""
        self.asked()

    def asked(self) -> list[tuple[str, str]]:
        """Method and path of each request since the last time; listings are called LIST."""
        mark = uuid.uuid4().hex
        try:  # requests are noted in their order: with this one all before it are there
            urlopen(f"{self.url}/{BUCKET}/{mark}", timeout=30).close()
        except HTTPError as error:
            error.close()
        self._wait(re.compile(mark))
        with self._news:
            found = [one.groups() for line in self._lines if (one := ASKED.search(line)) and mark not in line]
            self._lines.clear()
        return [("LIST" if "list-type" in path else method, path) for method, path in found]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._reader.join(30)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()

    def _wait(self, pattern: "re.Pattern[str]") -> "re.Match[str]":
        def found() -> "re.Match[str] | None":
            return next((one for line in self._lines if (one := pattern.search(line))), None)

        with self._news:
            match = self._news.wait_for(found, 60)
        assert match is not None, self._lines
        return match


@contextmanager
def serving(folder: Path) -> Iterator[ObjectServer]:
    """A server, started in a folder, and stopped."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    server = ObjectServer(process)
    try:
        yield server
    finally:
        server.close()
