"""What is shown while something goes on: on real terminals, in log files, to machines, in a notebook's kernel."""

import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest

from dgmmis import GaussianMixture, GMMis, Model, NotConvergedWarning, Progress, Record, Step
from dgmmis.callback import Counting, Notice, doing
from dgmmis.cli import main
from dgmmis.cli.operations import Operation
from dgmmis.errors import span_named
from dgmmis.progress.activity import Activity
from dgmmis.progress.words import line, of_activity
from tests.nights import JOB, night
from tests.terminal import Screen, on_terminal

PROGRAM = (sys.executable, "-m", "dgmmis")

MODEL = Model(GaussianMixture([1.0], [[0.0]], [[[1.0]]]))

ESCAPE = "\x1b"


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs the tests may have none."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two nights, the job for them, and one that fits the first on a cluster."""
    folder = tmp_path_factory.mktemp("progress")
    night(folder, 1, 3000)
    night(folder, 2, 3000)
    (folder / "job.toml").write_text(JOB)
    alone = JOB.partition("[reprocess]")[0].replace("survey.zarr", "first.zarr")
    (folder / "first.toml").write_text(alone + '[output]\npath = "first.run"\n')
    (folder / "cluster.toml").write_text(alone.replace("threads", "local") + '[output]\npath = "cluster.run"\n')
    command = [*PROGRAM, "ingest", "nights/001.csv", "first.zarr", "--features", "x,y", "--row-id", "id", "--quiet"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def called(
    nights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The program in this process: (exit code, what it wrote to stdout, and to stderr)."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.chdir(nights)
        monkeypatch.setattr(sys, "argv", ["dgmmis", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A pseudo-terminal: a stream to write to, and a function that reads what has been written."""
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.set_blocking(master, False)
    written = ""

    def read() -> str:
        nonlocal written
        while True:
            try:
                written += os.read(master, 1 << 16).decode()
            except BlockingIOError:
                return written

    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        yield stream, read
    os.close(master)


def record(iteration: int, gain: float, **about: Any) -> Step:
    """A pass."""
    numbers = {"objective": -3.25, "distance": 2.0, "log_likelihood": -3.25, "n_samples": 1e6, "seconds": 2.0}
    unseen = {"completeness": 1.0, "completeness_error": 0.0, "background_fraction": 0.0}
    return Step(Record(**{"iteration": iteration, "round": 0, "gain": gain, **numbers, **unseen, **about}), MODEL)


def passes(activity: Activity, gains: list[float], **about: Any) -> None:
    """Several of them."""
    activity.on_start(MODEL, 1000, 1e-6)
    for iteration, gain in enumerate(gains):
        activity.on_step(record(iteration, gain, **about))


def said(activity: Activity) -> str:
    return line(of_activity(activity, time.monotonic()))


def test_what_is_not_known_is_not_said() -> None:
    activity = Activity()
    assert said(activity) == ""
    activity.on_notice(Notice("rows", {"what": "reading", "done": 0, "total": None}))
    assert said(activity) == "reading: 0 rows"  # neither of how many, nor how fast
    passes(activity, [float("nan"), 1e-3, 1e-4])
    assert "left" not in said(activity)  # two gains tell no decline
    assert "rows/s" not in said(activity)  # of how many rows nobody said
    passes(activity, [1e-3] * 8)
    assert "left" not in said(activity)  # they do not decline
    passes(activity, [1e-7, 1e-7, 1e-7, 1e-7])
    assert "left" not in said(activity)  # at the tolerance, and still going on


def test_what_is_left_follows_from_how_the_gain_declines() -> None:
    activity = Activity()
    activity.on_notice(doing("drawing a sample of the rows", n_rows=1_000_000))
    passes(activity, [1e-1, 1e-2, 1e-3, 1e-4])
    assert activity.seconds_left == pytest.approx(4.0)  # two passes of two seconds
    assert said(activity).endswith("about 4 s left")
    assert "500,000 rows/s" in said(activity)
    passes(activity, [1e-1, 1e-2, 1e-3, 1e-4], completeness=0.5, completeness_error=1e-3, round=1)
    assert said(activity).endswith("about 4 s of this round left")  # others may come


def test_fits_side_by_side_are_counted() -> None:
    activity = Activity()
    told = {"plan": {"n_rows": 1000}, "goes_on": False, "n_fits": 3}
    activity.on_notice(Notice("start", told))
    passes(activity, [1e-1, 1e-2, 1e-3, 1e-4], candidate="2 full")
    assert "settled 0 of 3 fits  under way 2 full" in said(activity)
    passes(activity, [1e-2, 1e-3, 1e-4, 1e-5], candidate="3 full")
    activity.on_notice(Notice("arrived", {"candidate": "3 full", "message": "converged"}))
    assert "settled 1 of 3 fits  under way 2 full" in said(activity)
    assert activity.seconds_left is None  # of one of them nothing is known
    passes(activity, [1e-1, 1e-2, 1e-3, 1e-4], candidate="4 full")
    assert activity.seconds_left == pytest.approx(4.0)


def test_passes_from_a_journal_are_not_fast() -> None:
    activity = Activity()
    activity.on_notice(Notice("start", {"plan": {"n_rows": 1000}, "goes_on": True}))
    passes(activity, [1e-1, 1e-2, 1e-3, 1e-4])
    assert "rows/s" not in said(activity)
    assert "left" not in said(activity)
    activity.on_notice(Notice("goes on", {"seconds": 0.1}))
    assert "500 rows/s" in said(activity)
    activity.on_notice(Notice("begins again", {"message": "from the last model"}, "warning"))
    assert said(activity) == ""  # those passes are no longer of this fit


def test_times_are_for_people() -> None:
    assert [span_named(s) for s in (0.4, 99, 100, 3599, 3600, 90_000, 180_000)] == [
        "0 s",
        "99 s",
        "1 min 40 s",
        "59 min 59 s",
        "1 h 00 min",
        "25 h 00 min",
        "2 d 02 h",
    ]


@pytest.mark.parametrize("columns", [24, 60, 200])
def test_a_block_fits_the_terminal(columns: int) -> None:
    with terminal(columns) as (stream, read):
        progress = Progress(stream, patience=0)
        count = Counting(progress, "taking in 3 of 7 files")
        for done in (0, 250_000, 1_000_000):
            count(done, 1_000_000)
        progress.on_start(MODEL, 1000, 1e-6)
        about = {"completeness": 0.5, "background_fraction": 0.1, "candidate": "12 spherical, start 3"}
        progress.on_step(record(3, 1e-3, **about))
        progress.on_notice(doing("looking for first models, of which there may be more than fit into a line"))
        before = Screen(columns)
        before.feed(read())
        shown = [one for one in before.lines if one]
        assert max(map(len, shown)) < columns
        assert shown[0].startswith("looking for first")
        assert "".join(shown).count("objective") == 1  # nothing is left of what was painted over
        progress.say("a line that stays")
        progress.close()
        after = Screen(columns)
        after.feed(read())
        assert [one for one in after.lines if one] == ["a line that stays"]
        assert after.cursor == (1, 0)


def test_a_terminal_that_gets_narrow_keeps_no_rubble() -> None:
    """It breaks the lines that stand there, and they take more rows than were painted."""
    import fcntl
    import struct
    import termios

    with terminal(100) as (stream, read):
        progress = Progress(stream, patience=0)
        progress.on_notice(doing("a word " * 10))
        length = len(read())
        fcntl.ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        progress.on_notice(doing("something else"))
        assert f"{ESCAPE}[2A" in read()[length:]
        progress.close()


@pytest.mark.parametrize(("variable", "colours", "painted"), [("", True, True), ("NO_COLOR", False, True)])
def test_colours(variable: str, colours: bool, painted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    with terminal(80) as (stream, read):
        count = Counting(Progress(stream, patience=0), "reading")
        count(1, 10)
        screen = Screen(80)
        screen.feed(read())
        assert (screen.colours > 0, "━" in read()) == (colours, painted)


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal(80) as (stream, read):
        Counting(Progress(stream, patience=0), "reading")(1, 10)
        assert read().replace("\r\n", "\n") == "reading: 1 of 10 rows\n"


def test_warnings_stand_above_what_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(80) as (stream, read):
        monkeypatch.setattr(sys, "stderr", stream)
        with Progress(stream, patience=0) as progress:
            progress.on_notice(doing("something"))
            sys.stderr.write("a warn")
            sys.stderr.write("ing\n")
            progress.on_notice(doing("something else"))
            screen = Screen(80)
            screen.feed(read())
            assert [re.sub(r"  \d+ s", "", one) for one in screen.lines if one] == ["a warning", "something else"]
        assert sys.stderr is stream


@pytest.mark.slow
def test_a_fit_on_a_terminal(nights: Path) -> None:
    shown = on_terminal([*PROGRAM, "fit", "cluster.toml"], cwd=nights, columns=60)
    assert shown.returncode == 0, shown.written
    assert re.search(r"starting \d workers?  \d+ s", shown.written)
    assert "first pass" in shown.written
    assert shown.longest_silence < 10, shown.pictures  # 1 s, where there is nothing else to do
    assert shown.pictures[0][0] < 15  # 2 s, likewise
    lines = shown.screen.lines
    assert "converged: the objective and the parameters have settled" in lines  # and stays
    assert not any("elapsed" in one or one.startswith(("starting", "first pass", "writing")) for one in lines)
    assert shown.screen.cursor[1] == 0


def test_an_interruption_leaves_the_terminal_whole(nights: Path) -> None:
    sent: list[float] = []

    def stop(picture: list[str], process: "subprocess.Popen[bytes]") -> None:
        if not sent and any(one.startswith("starting") for one in picture):
            sent.append(time.monotonic())
            process.send_signal(signal.SIGINT)

    shown = on_terminal([*PROGRAM, "fit", "cluster.toml", "--out", "other.run"], cwd=nights, on_picture=stop)
    assert sent
    assert shown.returncode == 75, shown.written
    lines = [one for one in shown.screen.lines if one]
    assert not any(one.startswith("starting") for one in lines)
    assert any("interrupted by SIGINT" in one for one in lines)
    assert (shown.screen.cursor[1], shown.screen.cursor_is_shown) == (0, True)


@pytest.mark.slow
def test_a_log_file_gets_plain_lines(nights: Path) -> None:
    with (nights / "said.txt").open("w") as file:
        command = [*PROGRAM, "fit", "cluster.toml", "--out", "logged.run"]
        done = subprocess.run(command, cwd=nights, stdout=subprocess.PIPE, stderr=file, timeout=300, check=False)
    content = (nights / "said.txt").read_text()
    assert done.returncode == 0, content
    assert ESCAPE not in content
    assert "\r" not in content
    assert re.search(r"^starting \d workers?  \d+ s$", content, re.M)
    assert re.search(r"^pass \d+  objective .* s$", content, re.M)


def test_a_pause_is_said_ever_more_rarely() -> None:
    """Of a pass of an hour a log has some lines, not thousands."""
    import io

    from dgmmis.progress.log_lines import LogLines

    stream, activity = io.StringIO(), Activity()
    activity.on_notice(doing("a long pass"))
    lines, began = LogLines(stream, patience=1.0), activity.began
    for tick in range(4 * 3600):
        lines.show(activity, began + tick / 4)
    found = [int(re.findall(r"(\d+) s", one)[-1]) for one in stream.getvalue().splitlines() if "min" not in one]
    assert found[:5] == [1, 3, 7, 15, 31]
    assert stream.getvalue().count("\n") < 70


COMMANDS = (
    ("simulate", "new.zarr", "--preset", "graded", "-n", 500, "--overwrite"),
    ("ingest", "nights/001.csv", "again.zarr", "--features", "x,y", "--row-id", "id", "--overwrite"),
    ("ingest", "nights/002.csv", "again.zarr", "--append"),
    ("compact", "again.zarr"),
    ("withdraw", "again.zarr", "--rows", "gone.txt"),
    ("info", "again.zarr", "--verify"),
    ("fit", "first.toml"),
    ("resume", "first.run"),
    ("score", "first.run", "first.zarr"),
    ("sample", "first.run", 500, "drawn.zarr", "--overwrite"),
    ("select", "first.toml", "--components", "1:2"),
    ("follow", "followed.run", "nights/002.csv", "--start", "first.run"),
    ("reprocess", "job.toml"),
)


def test_machines_get_lines_of_a_log(nights: Path, called: Callable[..., tuple[int, str, str]]) -> None:
    (nights / "gone.txt").write_text("10001\n10002\n")
    heard: dict[str, list[dict[str, Any]]] = {}
    for words in COMMANDS:
        code, out, err = called(*words, "--json")
        assert code == 0, (words, err)
        assert isinstance(json.loads(out), dict), words
        lines = [json.loads(one) for one in err.splitlines()]
        assert all(one.keys() >= {"time", "level", "event"} for one in lines)
        heard[str(words[0])] = lines
        if words[0] in ("fit", "select", "reprocess"):
            assert {one["job"] for one in lines} == {str(words[1]).removesuffix(".toml")}
            assert len({one["run"] for one in lines if "run" in one}) == 1
        if words[0] != "resume":  # of what is finished there is nothing to say
            assert lines[-1]["event"] == "end"
            assert lines[-1]["exit_code"] == 0
    for name, what in (("ingest", "ingesting"), ("withdraw", "withdrawing"), ("info", "verifying")):
        counted = [one for one in heard[name] if one["event"] == "rows"]
        assert {one["what"] for one in counted} == {what}
        assert counted[-1]["done"] > 0
        assert counted[-1]["total"] in (counted[-1]["done"], None if name == "ingest" else -1)  # of CSV nobody knows
    arrived = {one["candidate"] for one in heard["select"] if one["event"] == "arrived"}
    assert arrived == {"1 full", "2 full"}
    (start,) = [one for one in heard["select"] if one["event"] == "start"]
    assert start["n_fits"] == len(arrived)
    steps = [one["what"] for one in heard["reprocess"] if one["event"] == "doing"]
    wanted = ("taking in 1 of 2 files: 001.csv", "taking in 2 of 2 files: 002.csv", "publishing")
    assert [one for one in steps if one in wanted] == list(wanted)
    night(nights, 3, 500)
    _, _, err = called("reprocess", "job.toml", "--json")
    steps = [one["what"] for one in map(json.loads, err.splitlines()) if one["event"] == "doing"]
    wanted = ("taking in 1 of 1 file: 003.csv", "screening 1 new segment", "comparing with the model that holds")
    assert [one for one in steps if one in wanted] == list(wanted)


def test_what_libraries_say_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with Operation("a job", as_json=True, quiet=False):
        handler = logging.StreamHandler()  # as a library makes one that is loaded meanwhile
        handler.emit(logging.LogRecord("library", logging.WARNING, "", 0, "a worker is slow", None, None))
        sys.stderr.write("half a line")
    handler.emit(logging.LogRecord("library", logging.WARNING, "", 0, "afterwards", None, None))
    said = [json.loads(one) for one in capsys.readouterr().err.splitlines()]
    assert [(one["event"], one.get("message")) for one in said[:3]] == [
        ("said", "a worker is slow"),
        ("said", "half a line"),
        ("end", None),
    ]


SLOW_WORKER = """
import subprocess, sys
from dgmmis.cli.operations import Operation

with Operation("a job", as_json=True, quiet=False):
    subprocess.run(["sh", "-c", "echo a worker is slow >&2; echo >&2; printf 'half a line' >&2"], check=True)
subprocess.run(["sh", "-c", "echo afterwards >&2"], check=True)
"""


def test_what_workers_say_is_a_line_too() -> None:
    """They write to the file, and not to what stands in for it in Python."""
    done = subprocess.run([sys.executable, "-c", SLOW_WORKER], capture_output=True, text=True, timeout=120, check=True)
    *lines, last = done.stderr.splitlines()
    said = [json.loads(one) for one in lines]
    assert [(one["event"], one.get("message")) for one in said] == [
        ("said", "a worker is slow"),
        ("said", "half a line"),
        ("end", None),
    ]
    assert last == "afterwards"


def test_machines_get_errors_as_lines_too(called: Callable[..., tuple[int, str, str]]) -> None:
    for words, code, kind in (
        (("fit", "nothing.toml"), 2, "JobError"),
        (("ingest", "nothing.csv", "new.zarr", "--features", "x"), 74, "StoreError"),
        (("info", "nothing.zarr"), 74, "StoreError"),
        (("ingest",), 2, "MissingParameter"),
    ):
        found, out, err = called(*words, "--json")
        lines = [json.loads(one) for one in err.splitlines()]
        assert (found, out) == (code, ""), words
        (error,) = [one for one in lines if one["event"] == "error"]
        assert (error["kind"], error["exit_code"], error["level"]) == (kind, code, "error")
        assert error["message"]


def test_quiet_commands_say_nothing(nights: Path, called: Callable[..., tuple[int, str, str]]) -> None:
    (nights / "gone.txt").write_text("10003\n")
    for words in COMMANDS[:9]:
        _, out, err = called(*words, "--quiet")
        assert err == "", words
        assert out
        assert called(*words, "--quiet", "--json")[2] == "" or words[0] == "withdraw"  # whose rows have gone


def test_verbose_estimators_show_their_fit(capsys: pytest.CaptureFixture[str]) -> None:
    points = np.random.default_rng(0).normal(size=(500, 2))
    GMMis(2, random_state=0).fit(points)
    assert capsys.readouterr() == ("", "")
    GMMis(2, random_state=0, verbose=1).fit(points)
    out, err = capsys.readouterr()
    assert out == ""
    *_, last, sentence = err.splitlines()
    assert last.startswith("pass ")
    assert sentence == "converged: the objective and the parameters have settled"
    with pytest.warns(NotConvergedWarning):
        GMMis(2, random_state=0, verbose=1, max_iter=2).fit(points)
    assert "stopped at max_iter" in capsys.readouterr().err


def test_every_pass_is_said_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    points = np.random.default_rng(0).normal(size=(500, 2))
    model = GMMis(2, random_state=0, verbose=2).fit(points)
    *lines, sentence = capsys.readouterr().err.splitlines()
    said = [one for one in lines if one.startswith("pass ") and "elapsed" not in one]
    assert [one.split()[1] for one in said] == [str(record.iteration) for record in model.history_]
    assert sentence == "converged: the objective and the parameters have settled"


def test_nothing_is_shown_once_a_fit_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    import threading

    with pytest.raises(ValueError, match="fewer objects than components"):
        GMMis(5, verbose=1).fit(np.zeros((2, 2)))
    assert not any(thread.name == "dgmmis-progress" for thread in threading.enumerate())
    assert "pass" not in capsys.readouterr().err


NOTEBOOK = """
import sys
assert "IPython" in sys.modules
import numpy, dgmmis
points = numpy.random.default_rng(0).normal(size=(2000, 2))
model = dgmmis.GMMis(2, random_state=0, verbose=1).fit(points)
"""

EXECUTE = """
import json, sys
import nbformat
from jupyter_client import KernelManager
from nbclient import NotebookClient

manager = KernelManager(ip="127.0.0.1")
manager.kernel_spec.argv[0] = sys.executable
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(sys.argv[1])])
NotebookClient(book, km=manager, timeout=240).execute()
sys.stdout.write(json.dumps(book.cells[0].outputs))
"""
"""In a process of its own: it leaves sockets behind."""


def test_a_notebook_has_one_table(tmp_path: Path) -> None:
    if find_spec("nbclient") is None or find_spec("ipykernel") is None:
        pytest.skip("needs the dependency group `test`: nbclient, ipykernel")
    places = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **dict.fromkeys(places, str(tmp_path)), "PYTHONPATH": path}
    command = [sys.executable, "-c", EXECUTE, NOTEBOOK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)
    assert [one["output_type"] for one in outputs] == ["display_data"], outputs
    html = outputs[0]["data"]["text/html"]
    assert html.startswith('<table class="dgmmis-progress">')
    assert "objective" in html  # in the table, or in a sentence below it where the fit was quick
    assert "converged: the objective and the parameters have settled" in html  # which came last


def test_ipython_is_not_loaded_outside_of_a_notebook() -> None:
    code = "import sys, dgmmis; dgmmis.Progress(); sys.exit('IPython' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
