"""The works side by side: dgmmis and every peer there is, taking turns on the same data from the same start."""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.benchmarks.peers import own_environment, peers_of
from tests.benchmarks.process import Lost, Process
from tests.benchmarks.results import MEASURED, OURS, Series, Turn
from tests.benchmarks.stores import Files, write
from tests.benchmarks.works import Work

KINDS = ("threads", "local")
"""Of clusters, that dgmmis is timed on."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything may take.

    Args:
        turns: that each contestant has.
        passes: of dgmmis in a turn, after its first.
        most: iterations of a peer in a turn.
        turn_seconds: that a turn of a peer should take.
        limit: seconds that a peer may take for a work in all.
        memory: bytes that a contestant may take.
    """

    turns: int = 3
    passes: int = 4
    most: int = 5
    turn_seconds: float = 2.0
    limit: float = 60.0
    memory: int = 0

    @property
    def memory_limit(self) -> int:
        return self.memory or int(0.7 * psutil.virtual_memory().available)


FULL = Pace()
QUICK = Pace(turns=2, passes=3, most=2, turn_seconds=0.5, limit=12.0)
OUR_SECONDS = 600.0
"""dgmmis may take these: a benchmark of it that was cut short would be worth nothing."""


class Contestant:
    """A process on a work, with what it has answered so far."""

    def __init__(self, series: Series, command: Sequence[str] | None, pace: Pace, seconds: float) -> None:
        self.series, self._pace, self._process = series, pace, None
        self._last = 0.0
        self._iterations = pace.passes if series.who == OURS else 1
        if command is None:
            return
        environment = None if series.who == OURS else own_environment()
        try:
            self._process = Process(command, seconds=seconds, memory=pace.memory_limit, environment=environment)
        except Lost as reason:
            self._end(reason)
        else:
            self._note(self._process.ready)

    def turn(self) -> None:
        """Its next turn, if it still has the time."""
        if self._process is None or self._last > self._process.seconds_left:
            return
        started = time.perf_counter()
        try:
            answer = self._process.ask(iterations=self._iterations)
        except Lost as reason:
            self._end(reason)
            return
        self._last = time.perf_counter() - started
        if not answer["seconds"]:
            self.series = replace(self.series, outcome="too short to be measured")
            return
        turn = Turn(answer["first"], tuple(answer["seconds"]))
        self.series = replace(self.series, turns=(*self.series.turns, turn))
        self._note(answer)
        if self.series.who == OURS:
            return
        wanted = self._pace.turn_seconds / max(np.median(turn.seconds), 1e-9)
        self._iterations = int(np.clip(wanted, 1, self._pace.most))

    def close(self) -> Series:
        if self._process is not None:
            self._process.close()
            self._process = None
        return self.series

    def _note(self, answer: Mapping[str, Any]) -> None:
        assert self._process is not None
        known = {name: answer[name] for name in ("versions", "planned", "chosen") if name in answer}
        peaks = answer.get("peaks") or {"all its processes": self._process.peak_bytes}
        self.series = replace(self.series, **known, peaks=peaks)

    def _end(self, reason: Lost) -> None:
        outcome = MEASURED if self.series.turns else str(reason)
        self.series = replace(self.series, outcome=outcome, peaks={"all its processes": reason.peak_bytes})
        self._process = None


def our_command(work: Work, files: Files, kind: str) -> list[str]:
    module = "tests.benchmarks.passes"
    return [sys.executable, "-m", module, str(files.arrays), work.name, str(files.store), kind]


def compare(work: Work, pace: Pace, files: Files) -> list[Series]:
    """A work by everybody. Processes start one after the other, then take turns; one that waits does nothing."""
    contestants = [
        Contestant(Series(work.name, OURS, kind), our_command(work, files, kind), pace, OUR_SECONDS) for kind in KINDS
    ]
    arrays = _for_peers(work, files)
    for peer in peers_of(work):
        series, command = Series(work.name, peer.name, peer.remark), peer.command(arrays)
        series = replace(series, outcome=peer.absence() if command is None else MEASURED)
        contestants.append(Contestant(series, command, pace, peer.patience * pace.limit))
    try:
        for _ in range(pace.turns):
            for contestant in contestants:
                contestant.turn()
    finally:
        found = [contestant.close() for contestant in contestants]
    return found


def compared(works: Sequence[Work], pace: Pace) -> dict[str, list[Series]]:
    """All works, each drawn, compared, and thrown away; what is found on the way is told to stderr."""
    found = {}
    for work in works:
        sys.stderr.write(f"{work.name}: {work.title}\n")
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found[work.name] = compare(work, pace, write(work, Path(folder)))
        for one in found[work.name]:
            seconds = f"{one.median:.4g} s" if one.seconds else one.outcome
            sys.stderr.write(f"{work.name} {one.who} {one.how}: {seconds}\n")
        sys.stderr.write(f"{work.name}: {time.perf_counter() - started:.0f} s in all\n")
    return found


def _for_peers(work: Work, files: Files) -> Path:
    """The arrays, with what is only said to peers."""
    extras: dict[str, Any] = {}
    if work.covariance_type == "diag":
        extras["diagonal"] = True
    if work.cutoff is not None:
        extras["cutoff"] = work.cutoff
    if not extras:
        return files.arrays
    path = files.arrays.with_name(f"{work.name}-for-peers.npz")
    with np.load(files.arrays) as given:
        np.savez(path, **given, **extras)
    return path
