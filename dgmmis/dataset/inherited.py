"""What a catalogue that is appended inherits of the survey: columns, noise, units and storage, where none are given."""

from collections.abc import Mapping, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

from dgmmis.dataset.bound_source import BoundSource
from dgmmis.dataset.columns import NOISE_FORMS, Columns
from dgmmis.dataset.manifest import Manifest
from dgmmis.dataset.schema import Schema
from dgmmis.errors import DataError, JobError, StoreError

BY_COLUMN = ("errors", "variances", "covariances")
BY_ARRAY = ("points", "noise", "projection")


def inherited_columns(path: Path, manifest: Manifest, given: Mapping[str, Any]) -> Columns:
    """The columns of the last catalogue that the survey at a path was made from, with those that are given in the place
    of the same.

    Args:
        path: of the store, for messages.
        manifest: of the store.
        given: arguments of Columns; None and empty ones are not given. Features without `points` are columns, and take
            the place of arrays; one form of noise takes that of any other.

    Raises:
        JobError: not all that the survey has is known, or given; it is named. Or roles that do not go together.
    """
    schema, known = manifest.schema, _known(path, manifest)
    given = {name: value for name, value in given.items() if _is_given(value)}
    replaced = {*given}
    if "points" in given:
        replaced |= {*BY_COLUMN}
    elif "features" in given:
        replaced |= {*BY_ARRAY}
    if replaced.intersection(given, NOISE_FORMS):
        replaced |= {*NOISE_FORMS}
    roles = {name: value for name, value in known.items() if name not in replaced} | given
    if "points" in roles:
        roles.setdefault("features", schema.features)  # which are names then
    if schema.noise == "shared" and not any(name in roles for name in NOISE_FORMS):
        roles["shared_noise"] = schema.shared_covariance
    roles["units"] = given.get("units", schema.units)
    columns = Columns(**{name: value for name, value in roles.items() if name != "scale"})
    scale = {name: factor for name, factor in known.get("scale", {}).items() if columns.uses(name)}
    columns = replace(columns, scale=scale | dict(given.get("scale", {})))
    _require_all(path, manifest, columns)
    return columns


def inherited_schema(path: Path, schema: Schema, bound: BoundSource, *, units_given: bool) -> Schema:
    """The schema of rows that are appended: storage, and names where the source has none of its own, as the survey's.

    Raises:
        DataError: the source says other units; the columns are named.
    """
    found = bound.binding.schema
    own = found.units if units_given else bound.binding.units
    drift = [
        f"'{name}' in {theirs}, not {mine}"
        for name, mine, theirs in zip(schema.features, schema.units, own, strict=False)
        if mine and theirs and mine != theirs
    ]
    if drift:
        raise DataError(
            f"other units than those of the survey '{path}': {', '.join(drift)}",
            do="convert them with --scale (scale=), or give --units (units=) if the source names them wrongly",
        )
    measured = found.measured
    if measured is not None and schema.measured is not None and len(measured) == len(schema.measured):
        measured = schema.measured
    units = schema.units if len(schema.units) == len(found.features) else found.units
    return replace(found, measured=measured, units=units, storage=schema.storage)


def row_id_column(manifest: Manifest) -> str | None:
    """What the column of row ids was called in the last catalogue; None where that is not known."""
    columns = _last(manifest)
    name = columns.get("row_id") if isinstance(columns, dict) else None
    return name if isinstance(name, str) else None


def _last(manifest: Manifest) -> Any:
    """The columns that the provenance notes last; None where it notes none."""
    return next((entry["columns"] for entry in reversed(manifest.provenance) if "columns" in entry), None)


def _known(path: Path, manifest: Manifest) -> dict[str, Any]:
    """The columns of the last catalogue, as arguments; its features and no more where it came from no file."""
    attributes = _last(manifest)
    if attributes is None:
        return {} if manifest.schema.measured is not None else {"features": manifest.schema.features}
    try:  # the noise that is shared is in the schema
        return Columns(**{name: value for name, value in attributes.items() if name != "shared_noise"}).to_attributes()
    except (AttributeError, TypeError, ValueError) as error:
        raise StoreError(f"the provenance of '{path}' is damaged", got=error, do="ingest it again") from error


def _require_all(path: Path, manifest: Manifest, columns: Columns) -> None:
    """Whatever the rows of the survey have, these have too."""
    schema = manifest.schema
    with_ids = bool(manifest.segments) and manifest.segments[0].row_ids
    has_noise = any(_is_given(getattr(columns, name)) for name in NOISE_FORMS)
    wanted = {
        "noise (--errors, --variances, --covariances, --noise)": schema.noise != "none" and not has_noise,
        "weights (--weight)": schema.weighted and columns.weight is None,
        "row ids (--row-id)": with_ids and columns.row_id is None,
        "projections (--points, --projection)": schema.measured is not None and columns.projection is None,
    }
    lacking = [name for name, is_lacking in wanted.items() if is_lacking]
    if lacking:
        raise JobError(
            f"the rows of '{path}' have {' and '.join(lacking)}, of columns that are not known", do="name the columns"
        )
    if manifest.segments and columns.row_id is not None and not with_ids:
        raise JobError(f"the rows of '{path}' have no row ids", got=columns.row_id, do="append without them")


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, Sized) and len(value) == 0)
