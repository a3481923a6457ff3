"""What a driver and the benchmark say to one another: a line of JSON each. Needs numpy only, of any age.

`python DRIVER ARRAYS.npz` answers {"versions": ..., "peak_bytes": ...} when it is ready. Then each line {"iterations":
n, ...} is answered by {"first": seconds or null, "seconds": [of each iteration], "peak_bytes": ...}: the iterations
start anew from the start in ARRAYS, and the first of them, which may prepare something, is told apart. The end of the
input ends the driver.
"""

import importlib.metadata
import json
import os
import sys
import time

import numpy as np


def serve(prepare, packages):
    """Speak the protocol.

    Args:
        prepare: arrays -> a function that runs iterations: (request) -> answer.
        packages: whose versions are told.
    """
    # the library may write what it likes to stdout: answers go where stdout was
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(what):
        answers.write(json.dumps({**what, "peak_bytes": peak_bytes()}) + "\n")
        answers.flush()

    with np.load(sys.argv[1]) as file:
        run = prepare(dict(file))
    answer({"versions": {name: importlib.metadata.version(name) for name in packages}})
    for line in sys.stdin:
        answer(run(json.loads(line)))


def peak_bytes():
    with open("/proc/self/status") as status:  # noqa: PTH123 (as short as it gets)
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def timed(first, stamps):
    """An answer from the moments at which iterations ended; the first began at `first`, or is not told (None)."""
    return {
        "first": None if first is None else stamps[0] - first,
        "seconds": np.diff(stamps).tolist(),
    }


def now():
    return time.perf_counter()
