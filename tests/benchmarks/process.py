"""A contestant's process: asked and answered line by line, within a time and a memory that it may take."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
"""The folder of the project."""

GLANCE = 0.1
"""Seconds between two looks at the memory of a process and its children."""


class Lost(Exception):
    """A process that took more than it may, or ended: why, in a few words, and its peak of memory."""

    def __init__(self, reason: str, peak_bytes: int) -> None:
        super().__init__(reason)
        self.peak_bytes = peak_bytes


class Process:
    """A driver (see `drivers.protocol`), killed with all its children when it takes too long or too much.

    Args:
        command: that starts it.
        seconds: for everything it is asked, start included; the time in which it is not asked does not count.
        memory: bytes that it may take together with its children.
        environment: of it; None: this process's own.
    """

    def __init__(
        self, command: Sequence[str], *, seconds: float, memory: int, environment: dict[str, str] | None = None
    ) -> None:
        self._left, self._limit, self._memory = seconds, seconds, memory
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=ROOT,  # from where dgmmis's own drivers are modules
            start_new_session=True,  # so that it can be killed with its children
        )
        self._too_large = False
        self.peak_bytes = 0
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self.ready = self._answer()

    @property
    def seconds_left(self) -> float:
        return self._left

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, and wait for the answer.

        Raises:
            Lost: it took too long or too much, or ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def close(self) -> None:
        """End it, and its children."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        self._kill()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        started = time.perf_counter()
        line = self._line(started + self._left)
        self._left -= time.perf_counter() - started
        if line is None or not line.endswith(b"\n"):
            reason = self._reason(line)
            self._kill()
            raise Lost(reason, self.peak_bytes)
        answer: dict[str, Any] = json.loads(line)
        self.peak_bytes = max(self.peak_bytes, answer.get("peak_bytes", 0))
        return answer

    def _line(self, until: float) -> bytes | None:
        """What it writes, up to the end of a line or of itself; None: nothing in time."""
        assert self._process.stdout is not None
        parts = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not parts.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.perf_counter())):
                    return None
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    break
                parts += part
        return parts

    def _reason(self, line: bytes | None) -> str:
        if self._too_large:
            return f"out of memory: over {self._memory / 1e9:.0f} GB"
        if line is None:
            return f"over {self._limit:.0f} s"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"failed: {said[-1][:200] if said else 'without a word'}"

    def _watch(self) -> None:
        while self._process.poll() is None:
            taken = 0
            for one in self._family():
                try:
                    taken += one.memory_info().rss
                except psutil.Error:
                    continue
            self.peak_bytes = max(self.peak_bytes, taken)
            if taken > self._memory:
                self._too_large = True
                self._kill()
            time.sleep(GLANCE)

    def _family(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.Error:
            return []

    def _kill(self) -> None:
        for one in self._family()[1:]:  # those that have made a session of their own
            try:
                one.kill()
            except psutil.Error:
                continue
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
