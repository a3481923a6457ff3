"""Noise laws as tables of a job file or a run: `unseen` is a covariance, `law` a name, `function` a path to code; a run
also keeps what was learned from its catalogue, as `nearest` or `regression`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dgmmis.errors import DgmmisError, JobError, RefusedError, nearest_name
from dgmmis.noise_law import (
    ConstantNoise,
    FromCatalogue,
    ImportedNoise,
    NearestNoise,
    NoiseLaw,
    NoiseRegression,
    OwnNoise,
    as_noise_law,
)
from dgmmis.tables.code import named_function
from dgmmis.tables.selection import selection_to_table

KINDS = ("unseen", "law", "function", "nearest", "regression")

INLINE_NUMBERS = 50_000
"""Numbers of a catalogue that a table may hold."""

REGRESSION = ("degree", "coefficients", "reach", "limits", "calibration")


def noise_law_from_table(table: Any, *, allow_code: bool = False) -> NoiseLaw | OwnNoise | FromCatalogue:
    """The noise law that a table describes.

    Args:
        table: one kind and its value.
        allow_code: whether a table may name a function to import and call.

    Raises:
        JobError: more or less than one kind, an unknown kind or key, a wrong value, a function that is not allowed.
    """
    if not isinstance(table, Mapping) or len(table) != 1:
        got = list(table) if isinstance(table, Mapping) else table
        raise JobError("a noise law is a table with one kind", expected=f"one of {', '.join(KINDS)}", got=got)
    ((kind, value),) = table.items()
    try:
        match kind:
            case "unseen":
                return ConstantNoise(value)
            case "law":
                if not isinstance(value, str):
                    raise JobError("noise `law` is a name", expected="own, nearest or regression", got=value)
                return as_noise_law(value)
            case "function":
                return _function(value, allow_code)
            case "nearest":
                _check_keys(kind, value, needed=("points", "covariances"))
                return NearestNoise(**value)
            case "regression":
                _check_keys(kind, value, needed=REGRESSION)
                return NoiseRegression(value["degree"], **{key: value[key] for key in REGRESSION[1:]})
    except JobError:
        raise
    except (DgmmisError, TypeError, ValueError, OverflowError) as error:
        raise JobError(f"noise `{kind}`: {error}") from error
    raise JobError(f"unknown noise law '{kind}'", do=nearest_name(kind, KINDS))


def noise_law_to_table(law: NoiseLaw | OwnNoise | FromCatalogue) -> dict[str, Any]:
    """The table that describes a noise law, of plain numbers and lists.

    Raises:
        RefusedError: a function without a path, or a catalogue that is too long for a table.
    """
    match law:
        case ConstantNoise(covariance=covariance):
            return {"unseen": covariance.tolist()}
        case OwnNoise():
            return {"law": "own"}
        case FromCatalogue(kind=kind):
            return {"law": kind}
        case ImportedNoise(named=named):
            return selection_to_table(named)  # a path and its parameters, whatever the function returns
        case NearestNoise(points=points):
            covariances = law.covariances
            if points.size + covariances.size > INLINE_NUMBERS:
                raise RefusedError(
                    "the catalogue of noise_law='nearest' is too long to be written to a table",
                    expected=f"at most {INLINE_NUMBERS} numbers",
                    got=points.size + covariances.size,
                    do="learn it from fewer objects, or use noise_law='regression', which is short",
                )
            return {"nearest": {"points": points.tolist(), "covariances": covariances.tolist()}}
        case NoiseRegression(degree=degree):
            arrays = {key: np.asarray(getattr(law, key)).tolist() for key in REGRESSION[1:]}
            return {"regression": {"degree": degree} | arrays}
    raise RefusedError(
        f"a {type(law).__name__} noise law cannot be written to a table",
        do="name the function with ImportedNoise('module:name'), or give a covariance",
    )


def _function(table: Any, allow_code: bool) -> ImportedNoise:
    _check_keys("function", table, needed=("path",), optional=("parameters",))
    return ImportedNoise(*named_function("noise", table, allow_code=allow_code))


def _check_keys(kind: str, table: Any, *, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    """Raise JobError for what is no table, for keys that the kind does not have, and for those it lacks."""
    known = (*needed, *optional)
    if not isinstance(table, Mapping):
        raise JobError(f"noise `{kind}` needs a table", expected=f"keys {', '.join(known)}", got=table)
    for key in table:
        if key not in known:
            raise JobError(f"noise `{kind}`: unknown key '{key}'", do=nearest_name(key, known))
    lacking = [key for key in needed if key not in table]
    if lacking:
        raise JobError(f"noise `{kind}` lacks {', '.join(lacking)}")
