"""The command line: options of any value, in this process; what click says of usage is fine, too."""

import io
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path

import click
import numpy as np

from dgmmis.cli import program
from fuzzing.judgement import Judge
from fuzzing.material import good

VALUES = (
    *("", "a", "a,b", "a,,b", ",", "a=1", "a=x", "a=1,b=2", "=", "a=1e400", "a=nan", "0", "1", "-1", "5", "nan", "1e3"),
    *("9" * 30, "x" * 300, "x" * 5000, "caf\udce9", "\u202e", "-", "--", "seen", "unseen", "population", "e", "X", "i"),
    *("box-with-hole", "graded", "/dev/null", "/proc/self/mem"),
)
COMMANDS = ("simulate", "ingest", "info", "plan", "score", "predict", "sample", "nonsense")
GOOD = ("none.zarr", "shared.zarr", "diagonal.zarr", "selected.run", "plain.run", "t.csv", "t.npz", "t.fits")


def called(arguments: list[str]) -> None:
    """A command as `main` calls it, with its output thrown away."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), suppress(SystemExit):
        program(arguments, standalone_mode=False)


def random(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """Commands with arguments that are good, absent, or anything, and options of theirs with any value."""
    rng = np.random.default_rng(seed)
    (folder / "job.toml").write_text(f'[data]\npath = "{good()}/shared.zarr"\n[model]\nn_components = 2\n')
    here = [*(str(good() / name) for name in GOOD), str(folder / "job.toml")]
    places = [*here, str(folder), str(folder / "no" / "such"), *VALUES]
    for number in range(n):
        arguments = _arguments(str(_one(COMMANDS, rng)), here, places, str(folder / f"new{number}"), rng)
        with chdir(folder):  # relative paths are made there
            judge(partial(called, arguments), arguments)
    return {}


def _arguments(name: str, here: list[str], places: list[str], new: str, rng: np.random.Generator) -> list[str]:
    command = program.commands.get(name)
    if command is None:
        return [name, str(_one(VALUES, rng))]
    arguments = [name]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            usual = {"n": "3", "out": new, "source": here[5], "run": here[3], "data": here[1], "job": here[-1]}
            bad = rng.random() < 0.4
            arguments.append(str(_one(places, rng)) if bad else usual.get(str(parameter.name), str(_one(here, rng))))
        elif rng.random() < 0.2:
            arguments.append(parameter.opts[0])
            if not getattr(parameter, "is_flag", False):
                arguments.append(str(_one(VALUES, rng)))
    if name == "ingest" and rng.random() < 0.7:
        arguments += ["--features", "a,b"]
    if name == "simulate" and "-n" not in arguments:
        arguments += ["-n", "50"]
    return arguments if rng.random() < 0.9 else arguments[: int(rng.integers(1, len(arguments) + 1))]


def _one(choices: list[str] | tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
