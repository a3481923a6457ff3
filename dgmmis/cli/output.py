"""What commands print: documents and runs, for people or as JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click


def tell(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, indent=1, default=str))
    else:
        from dgmmis.summary import document_lines

        show_rows(document_lines(document))


def show_rows(lines: list[tuple[str, str]], err: bool = False) -> None:
    width = max((len(what) for what, _ in lines), default=0)
    for what, value in lines:
        # names of files need not be text, and what a file says need not be fit for a terminal
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in f"{what:<{width}}  {value}")
        click.echo(line, err=err)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever a run's document may hold, or lack, it is an error that names it."""
    from dgmmis.errors import StoreError

    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the document of '{path}' is damaged", got=repr(error), do="fit it again") from error
