"""Bad input by the thousand: nothing but results, and errors that can be read, comes out of it.

Each target runs in a process of its own, without the types that the other tests check, as a user's program does, and
with a bound on its memory. Some hundred inputs run always, more than ten thousand with --runslow; both are counted.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuzzing.coverage_guided import explore
from fuzzing.judgement import Fault, Judge
from fuzzing.mutation import mutated_text

TESTS = Path(__file__).parent.parent

TARGETS = {
    "jobs.guided": (200, 4000),
    "jobs.properties": (40, 1500),
    "stores.mutated": (25, 1200),
    "runs.mutated": (25, 1500),
    "sources.mutated": (28, 1200),
    "sources.guided": (30, 800),
    "sources.tables": (30, 500),
    "sources.columns": (30, 400),
    "functions.wrong": (30, 200),
    "models.mixtures": (40, 1000),
    "models.fits": (20, 300),
    "commands.random": (40, 600),
}
"""Target -> inputs that it is asked for, always and with --runslow; some make several of one."""


def fuzzed(targets: dict[str, int], seed: int) -> dict[str, Any]:
    """What came out of so many inputs of each target."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    environment.pop("PYTHONWARNINGS", None)
    command = [sys.executable, "-m", "fuzzing", str(seed), *(f"{target}:{n}" for target, n in targets.items())]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3000, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    return {found["target"]: found for found in map(json.loads, done.stdout.splitlines())}


def test_some_hundred_bad_inputs() -> None:
    found = fuzzed({target: n for target, (n, _) in TARGETS.items()}, seed=0)
    for target, (n, _) in TARGETS.items():
        outcomes = found[target]["outcomes"]
        assert found[target]["inputs"] >= n
        assert n > outcomes.get("fine", 0)  # some were bad
    guided = found["jobs.guided"]
    assert (
        guided["steps of all"] > 1.05 * guided["steps of the seeds"] > 100
    )  # coverage guides to what seeds do not reach


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_more_than_ten_thousand_bad_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    total = 0
    for target, (_, n) in TARGETS.items():
        found = fuzzed({target: n}, seed=1)[target]
        total += found["inputs"]
        with capsys.disabled():
            sys.stdout.write(f"\n{target}: {json.dumps(found)}")
    with capsys.disabled():
        sys.stdout.write(f"\n{total} bad inputs in all\n")
    assert total > 10_000


def test_the_same_seed_makes_the_same_inputs() -> None:
    made: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []
        explore([b"a = 1\nb = [2, 3]\n"], inputs.append, mutated_text, n_inputs=50, seed=7)
        made.append(inputs)
    assert made[0] == made[1]
    assert len(set(made[0])) > 30


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (TypeError("no error of ours"), "no error of ours"),
        (MemoryError(), "MemoryError"),
        (RecursionError("deep"), "RecursionError"),
    ],
)
def test_the_judge_condemns_other_errors(raised: Exception, said: str) -> None:
    def function() -> None:
        raise raised

    with pytest.raises(Fault, match=said):
        Judge()(function)


@pytest.mark.parametrize("message", ["", "x" * 5000, "two\nlines", "\x1b[31mred", "an <object object at 0x7f00>"])
def test_the_judge_condemns_messages_that_cannot_be_read(message: str) -> None:
    from dgmmis.errors import DataError

    error = DataError("")
    error.args = (message,)  # around what makes our messages readable

    def function() -> None:
        raise error

    with pytest.raises(Fault, match="a message"):
        Judge()(function)


def test_messages_are_made_readable() -> None:
    from dgmmis.errors import DataError, nearest_name

    error = DataError("a\nb\x1b[0m", expected=np.zeros((40, 40)), got=10**5000, do="x" * 9000)
    assert str(error).startswith("a b\\x1b[0m: expected [[0. 0. 0. ... 0. 0. 0.] [0.")
    assert "got a int that cannot be shown" in str(error)
    assert len(str(error)) < 2000
    assert len(nearest_name("zzz", [f"column {i}" for i in range(5000)])) < 500
    assert nearest_name("zzz", []) == "there is none to choose from"
