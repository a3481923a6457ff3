"""Commands that deployments give, held against the programs themselves: nothing is run."""

import shlex
from collections.abc import Sequence

import click
from distributed.cli.dask_scheduler import main as scheduler
from distributed.cli.dask_worker import main as worker

from dgmmis.cli import program


def parsed(command: str | Sequence[str]) -> dict[str, object]:
    """The options and arguments of `dgmmis ...`, `dask scheduler ...` or `dask worker ...`.

    Raises:
        click.ClickException: the program does not take them.
    """
    words = shlex.split(command) if isinstance(command, str) else list(command)
    at = next(i for i, word in enumerate(words) if word.rpartition("/")[2] in ("dgmmis", "dask"))
    of_dgmmis, name, options = words[at].endswith("dgmmis"), words[at + 1], words[at + 2 :]
    commands = program.commands if of_dgmmis else {"scheduler": scheduler, "worker": worker}
    if name not in commands:
        raise click.UsageError(f"no command '{name}'")
    with commands[name].make_context(name, options) as context:
        return dict(context.params)
