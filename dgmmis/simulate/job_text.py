"""The job file that fits a simulated survey, as TOML."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgmmis.background import Background
from dgmmis.errors import RefusedError
from dgmmis.simulate.preset import Preset
from dgmmis.tables import background_to_table, survey_to_tables


def job_path(store: str | Path) -> Path:
    """Where the job file of a store lies: survey.zarr -> survey.toml, beside it."""
    store = Path(store)
    return store.with_name(f"{store.name.removesuffix('.zarr')}.toml")


def job_text(preset: Preset, store: Path) -> str:
    """A job file that finds the truth of a preset again.

    Raises:
        RefusedError: a selection, a noise law or a background that is a function without a path, or too long a table.
    """
    tables: dict[str, Mapping[str, Any]] = {
        "data": {"path": store.name},
        "model": {"n_components": preset.n_components, "covariance_type": "full", "init": "kmeans"},
    }
    tables |= survey_to_tables(preset.survey)
    if preset.model.background is not None:
        tables["background"] = _background(preset.model.background)
    tables["fit"] = {"tol": 1e-6, "max_iter": 1000, "seed": 0}
    tables["cluster"] = {"kind": preset.cluster}
    tables["output"] = {"path": f"{job_path(store).stem}.run"}
    lines = [f"# {preset.name}: {preset.sentence}."]
    lines += ["# Paths are relative to this file. The store also holds the truth."]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value, split=True)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _background(background: Background) -> dict[str, Any]:
    """Its shape, and the fraction to start from; the edges of a box are keys of their own."""
    table = background_to_table(background)
    return {**table.get("uniform", table), "fraction": 0.1}


def _toml(value: Any, *, split: bool = False) -> str:
    """A value as TOML; with split, a list of tables takes one line for each."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)  # inf, -inf, nan: Python's words and TOML's
        case list() if split and any(isinstance(item, dict) for item in value):
            return "[\n" + "".join(f"  {_toml(item)},\n" for item in value) + "]"
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    raise RefusedError("no TOML for this value", got=type(value).__name__)
