"""The program: the options that its commands share, and errors as one message and an exit code."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

EXIT_CODES = """\b
Exit codes:
   0  done                             69  the cluster was lost or cannot be reached
   1  failed                           74  input/output error
   2  usage or a bad job file          75  interrupted or locked: run again
   3  stopped without convergence (the model is written)
  65  bad data                          141  whoever read the output has gone
"""


class PlaceType(click.Path):
    """A path, or the URL of a place in a bucket."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from dgmmis.dataset.place import SCHEME, place_of

        if isinstance(value, str) and value.startswith(SCHEME):
            return place_of(value)
        return super().convert(value, param, ctx)


PLACE = PlaceType(path_type=Path)


@contextmanager
def read_or_ended() -> Iterator[None]:
    """End quietly where nobody reads the output any more; click, which would end with 1, takes any connection for it.

    Raises:
        ConnectionError: it was another connection that was cut.
    """
    try:
        yield
    except BrokenPipeError as error:
        from dgmmis.ending import UNREAD, is_unread

        if not is_unread():
            raise ConnectionError(f"a connection was cut: {error}") from error
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is written when Python ends
        sys.exit(UNREAD)


class Program(click.Group):
    """A group of commands whose reader may go."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with read_or_ended():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with read_or_ended():
            return super().invoke(ctx)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    words = "Print one JSON document on stdout, and lines of JSON on stderr meanwhile, for machines."
    command = click.option("--json", "as_json", is_flag=True, help=words)(command)
    command = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)
    return click.option("--quiet", is_flag=True, help="No progress on stderr.")(command)


def allow_code_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--allow-code",
        is_flag=True,
        help="Let a job or a run import the functions and classes that it names (selection, noise law, background, "
        "cluster), and call them as you: for files that you trust.",
    )(command)


@click.group(
    cls=Program, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="dgmmis", message="dgmmis %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def program(debug: bool) -> None:
    """Fit Gaussian mixtures to noisy, truncated, incomplete surveys, chunk by chunk on a dask cluster.

    \b
    Example:
      dgmmis simulate survey.zarr --preset box-with-hole
      dgmmis fit survey.toml
    """
    del debug


def main() -> None:
    """The program: commands, and errors as one message and an exit code."""
    from dgmmis.ending import RUN_AGAIN, USAGE, exit_code_of
    from dgmmis.errors import DgmmisError
    from dgmmis.interruption import Interrupted, interruptible

    try:
        with interruptible():
            program(standalone_mode=False)
    except (Interrupted, click.exceptions.Abort) as error:
        _fail(error, RUN_AGAIN, str(error) or "interrupted", do="Run again.")
    except click.ClickException as error:
        if "--json" in sys.argv:
            _fail(error, USAGE, error.format_message())
        error.show()
        sys.exit(USAGE)
    except DgmmisError as error:
        _fail(error, exit_code_of(error), str(error))
    except UnicodeDecodeError as error:
        _fail(error, exit_code_of(error), f"the file is not UTF-8 text: {error}. Convert it, for example with iconv.")
    except OSError as error:
        _fail(error, exit_code_of(error), str(error))


def _fail(error: BaseException, exit_code: int, what: str, do: str = "") -> None:
    """Say what happened, and what is left of it."""
    if "--debug" in sys.argv:
        raise error
    notes = getattr(error, "__notes__", [])
    if "--json" in sys.argv:  # machines read a line of a log
        from dgmmis.event_log import error_line

        click.echo(error_line(error, exit_code, what), err=True)
        sys.exit(exit_code)
    click.echo("\n".join([f"dgmmis: {what}", *(notes or ([do] if do else []))]), err=True)
    sys.exit(exit_code)
