"""Functions and classes that a file names: imported and called only where that is allowed, and never without a word."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from dgmmis.errors import JobError

LOG = logging.getLogger(__name__)
"""Without a handler of the program's own Python writes warnings to stderr."""


def named_function(of: str, table: Mapping[str, Any], *, allow_code: bool) -> tuple[str, dict[str, Any]]:
    """The path "module:name" of a function that a table names, and its parameters.

    Args:
        of: "selection", "noise" or "background", for messages.
        table: with `path` and perhaps `parameters`.
        allow_code: whether it may be imported and called.

    Raises:
        JobError: keys of the wrong type, or a function that is not allowed.
    """
    path, parameters = table["path"], table.get("parameters", {})
    if not isinstance(path, str) or not isinstance(parameters, Mapping):
        expected = "path = 'module:name', parameters = a table"
        raise JobError(f"{of} `function` has the wrong types", expected=expected, got=dict(table))
    require_allowed(of, path, what="function", allow_code=allow_code)
    return path, dict(parameters)


def require_allowed(of: str, path: str, *, what: str, allow_code: bool) -> None:
    """Say that something which a file names will run, or raise JobError where it must not.

    Args:
        of: the table that names it.
        path: where it is found.
        what: the key that names it.
        allow_code: whether it may be imported and called.
    """
    if not allow_code:
        raise JobError(
            f"{of} `{what}` would import and run '{path}'",
            do="if you trust where this file is from, allow it with --allow-code",
        )
    _say(of, path)


@cache
def _say(of: str, path: str) -> None:
    """Once a process: tables are read several times."""
    LOG.warning("--allow-code: the %s imports and runs %s, as you", of, ascii(path))
