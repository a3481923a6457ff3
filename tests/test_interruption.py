"""Signals while children are started, and pipes whose reader has gone."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dgmmis.cli.program import read_or_ended
from dgmmis.interruption import Interrupted, interruptible, unwarned_children

PROGRAM = (sys.executable, "-m", "dgmmis")


@contextmanager
def another_thread() -> Iterator[None]:
    """One that takes the signals that the main thread blocks, as a progress display is."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_children_are_started(number: signal.Signals) -> None:
    """Whichever thread takes it: else what was started half would be nobody's."""
    started = []

    def start() -> None:
        with unwarned_children():
            os.kill(os.getpid(), number)
            subprocess.run([sys.executable, "-c", ""], check=True)  # long enough for the other thread to take it
            started.append(number)

    with another_thread(), interruptible():
        with pytest.raises(Interrupted, match=number.name):
            start()
        assert started == [number]
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_a_reader_that_has_gone_ends_a_command_as_it_ends_other_tools() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        for words in (["--help"], ["info", "--help"]):
            done = subprocess.run([*PROGRAM, *words], stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120)
            assert (done.returncode, done.stderr) == (141, "")


FOR_MACHINES = """
import click
from dgmmis.cli.operations import Operation
from dgmmis.cli.program import read_or_ended

with read_or_ended(), Operation("a job", as_json=True, quiet=False) as operation:
    operation.doing("something")
    click.echo("{}")
"""


@pytest.mark.parametrize(("gone", "code"), [("stdout", 141), ("stderr", 0)])
def test_machines_may_stop_reading_too(gone: str, code: int) -> None:
    """Whoever lets go of the log alone has what was found all the same."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        outputs: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, gone: pipe}
        done = subprocess.run([sys.executable, "-c", FOR_MACHINES], text=True, timeout=120, check=False, **outputs)
    assert done.returncode == code
    if gone == "stdout":
        assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["doing", "error", "end"]
        assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == code
    else:
        assert done.stdout == "{}\n"


def test_another_connection_is_no_reader() -> None:
    with pytest.raises(ConnectionError, match="a connection was cut"), read_or_ended():
        raise BrokenPipeError("of a socket")


def test_who_insists_does_not_wait() -> None:
    def start() -> None:
        with unwarned_children():
            for _ in range(1000):
                os.kill(os.getpid(), signal.SIGINT)
                threading.Event().wait(0.01)
            pytest.fail("it waited")

    with another_thread(), interruptible(), pytest.raises(Interrupted, match="SIGINT"):
        start()
