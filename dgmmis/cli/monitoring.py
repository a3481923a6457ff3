"""status: how a run, a model store or a survey stands, for monitors."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from dgmmis.cli.output import show_rows
from dgmmis.cli.program import PLACE, common, program

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class _Span(click.ParamType[float]):
    """A time, such as 36h."""

    name = "36h"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", str(value), re.ASCII)
        if found is None:
            self.fail(f"'{value}' is no time: give a number and s, m, h, d or w, such as 36h", param, ctx)
        return float(found[1]) * UNITS[found[2] or "s"]


@program.command(
    epilog="""\b
Exit codes, the first that holds:
   1  somebody should look: refused, set aside, failed, or too old
   3  stopped without convergence
  75  interrupted or dead: run it again
   0  fine, or under way
  74  nothing of the kind is there, or it cannot be read
"""
)
@click.argument("path", type=PLACE)
@click.option(
    "--max-age",
    type=_Span(),
    help="Since the last success of a model store, the last sign of a fit that is under way, the end of a finished "
    "one, or the last change of a survey. If it is longer, the exit code is 1.",
)
@common
def status(path: Path, max_age: float | None, as_json: bool, quiet: bool) -> None:
    """Say how a run, a model store or a survey stands, in words and by the exit code. Nothing is locked or changed.

    Success of a model store is that `dgmmis reprocess` ended with a new version, or with nothing new. Whether a process
    is alive is known of those on this machine.

    \b
    Example:
      dgmmis status survey.run
      dgmmis status survey.models --max-age 36h || mail -s "survey" me
      dgmmis status survey.models --json
    """
    del quiet
    from dgmmis.status import status as look

    standing = look(path, max_age=max_age)
    if as_json:
        click.echo(json.dumps(standing.document(), indent=1))
    else:
        show_rows([(standing.kind, standing.state), *(("", sentence) for sentence in standing.sentences)])
    sys.exit(standing.exit_code)
