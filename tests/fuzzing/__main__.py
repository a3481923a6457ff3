"""python -m fuzzing SEED TARGET:N ...: try N inputs of each, in a process without the types that the tests check.

Prints what came out, a line of JSON for each; ends with a traceback at the first input that the program did not stand.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path

from fuzzing.judgement import Judge, bounded


def main(seed: str, *targets: str) -> None:
    bounded()
    for target in targets:
        name, _, n = target.partition(":")
        module, _, function = name.partition(".")
        judge = Judge()
        with tempfile.TemporaryDirectory(prefix="dgmmis-fuzzing-") as folder:
            try_them = getattr(importlib.import_module(f"fuzzing.{module}"), function)
            about = try_them(judge, Path(folder), int(n), int(seed))
        said = {"target": name, "inputs": judge.n_inputs, "outcomes": dict(judge.outcomes.most_common()), **about}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
