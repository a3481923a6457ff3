"""python -m fuzzing TARGET N [SEED]: try N inputs, in a process of its own without the types that the tests check.

Prints what came out as JSON; ends with a traceback at the first input that the program did not stand.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path

from fuzzing.judgement import Judge, bounded


def main(target: str, n: str, seed: str = "0") -> None:
    bounded()
    module, _, function = target.partition(".")
    judge = Judge()
    with tempfile.TemporaryDirectory(prefix="dgmmis-fuzzing-") as folder:
        about = getattr(importlib.import_module(f"fuzzing.{module}"), function)(judge, Path(folder), int(n), int(seed))
    said = {"inputs": judge.n_inputs, "outcomes": dict(judge.outcomes.most_common()), **about}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
