"""The job file that fits a simulated survey, as TOML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgmmis.background import Background
from dgmmis.job.toml import toml_text
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
    return "\n".join(lines) + "\n" + toml_text(tables)


def _background(background: Background) -> dict[str, Any]:
    """Its shape, and the fraction to start from; the edges of a box are keys of their own."""
    table = background_to_table(background)
    return {**table.get("uniform", table), "fraction": 0.1}
