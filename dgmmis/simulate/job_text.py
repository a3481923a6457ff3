"""The job file that fits a simulated survey, as TOML."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgmmis.errors import RefusedError
from dgmmis.job import selection_to_table
from dgmmis.simulate.preset import Preset
from dgmmis.survey import ConstantNoise


def job_path(store: str | Path) -> Path:
    """Where the job file of a store lies: survey.zarr -> survey.toml, beside it."""
    store = Path(store)
    return store.with_name(f"{store.name.removesuffix('.zarr')}.toml")


def job_text(preset: Preset, store: Path) -> str:
    """A job file that finds the truth of a preset again.

    Raises:
        RefusedError: a selection or a noise law that is a function, which no file can hold.
    """
    tables: dict[str, Mapping[str, Any]] = {
        "data": {"path": store.name},
        "model": {"n_components": preset.n_components, "covariance_type": "full", "init": "kmeans"},
    }
    if preset.survey.selection is not None:
        law = preset.survey.noise_law
        if not isinstance(law, ConstantNoise):
            raise RefusedError("a noise law that is a function cannot be written to a job file", do="use ConstantNoise")
        tables["selection"] = selection_to_table(preset.survey.selection)
        tables["noise"] = {"unseen": law.covariance.tolist()}
    if preset.model.background is not None:
        box = preset.model.background
        tables["background"] = {"lower": box.lower.tolist(), "upper": box.upper.tolist(), "fraction": 0.1}
    tables["fit"] = {"tol": 1e-6, "max_iter": 1000, "seed": 0}
    tables["cluster"] = {"kind": preset.cluster}
    tables["output"] = {"path": f"{job_path(store).stem}.run"}
    lines = [f"# {preset.name}: {preset.sentence}."]
    lines += ["# Paths are relative to this file. The store also holds the truth."]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value, split=True)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


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
