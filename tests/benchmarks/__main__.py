"""`python -m tests.benchmarks [COMMAND]`: what each command does is in the module of its name.

[works] [--quick]                   all works beside their peers, and the sweep over K: `make bench`
works [--quick] --only W2 ...       some of the works: shown, and not kept
components [--quick]                the sweep over K
tycho PATH [--components K] [--seconds S] [--unpruned S] [--arrived A]    Tycho-2, from parquet to a model
memory [--folder F] [--largest N]   the peak of every process against the plan, up to 1e8 rows
overhead                            what a pass costs without work: chunks, sums, the driver
predictions [--scale S]             what is said of rows with noise of their own, in passes over them: shown, not kept
scaling [--folder F]                strong and weak scaling, and a model of a pass for more workers than there are
show [--quick]                      table and pictures of the latest results, again
readme                              the latest table into the README
"""

import argparse
from pathlib import Path

from tests.benchmarks import components, everything, memory, overhead, predictions, readme, scaling, table, tycho
from tests.benchmarks.results import latest

ALONE = {"memory": memory.main, "overhead": overhead.main, "predictions": predictions.main, "scaling": scaling.main}
"""Commands that read their own options, and keep their results for themselves."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command")
    for name in ("works", "components", "show"):
        commands.add_parser(name).add_argument("--quick", action="store_true", default=argparse.SUPPRESS)
    commands.choices["works"].add_argument("--only", nargs="*", default=())
    commands.add_parser("readme")
    real = commands.add_parser("tycho")
    real.add_argument("path", type=Path)
    real.add_argument("--components", type=int, default=tycho.COMPONENTS)
    real.add_argument("--seconds", type=float, default=tycho.SECONDS)
    real.add_argument("--unpruned", type=float, default=tycho.UNPRUNED_SECONDS)
    real.add_argument("--arrived", type=float, default=tycho.ARRIVED)
    parser.add_argument("--quick", action="store_true", help="small works, to try it out")
    for name in ALONE:
        commands.add_parser(name, add_help=False)
    given, rest = parser.parse_known_args()
    if rest and given.command not in ALONE:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    match given.command:
        case "components":
            components.run(quick=given.quick).write()
            everything.show(quick=given.quick)
        case "tycho":
            names = ("components", "seconds", "unpruned", "arrived")
            tycho.tycho(given.path, **{name: getattr(given, name) for name in names}).write()
            everything.show()
        case "show":
            everything.show(quick=given.quick)
        case "readme":
            run = latest("works")
            if run is None:
                parser.error("there are no results yet: make bench")
            readme.write(table.summary(run, latest("components")))
        case name if name in ALONE:
            ALONE[name](rest)
        case _:
            everything.run_everything(getattr(given, "only", ()), quick=given.quick)


if __name__ == "__main__":
    main()
