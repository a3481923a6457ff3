"""Job files: text that is nearly TOML, and TOML of anything."""

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from dgmmis.job import Job, read_job
from fuzzing.coverage_guided import explore
from fuzzing.judgement import Judge
from fuzzing.material import write_model
from fuzzing.mutation import mutated_text
from fuzzing.properties import tried

SEEDS = Path(__file__).parent / "seeds"

KEYS = {
    "data": ("path",),
    "model": ("n_components", "covariance_type", "init", "prior_scale", "prior", "frozen", "cutoff"),
    "selection": ("on", "box", "ball", "half_space", "grid", "injections", "not", "all", "any", "function"),
    "noise": ("unseen", "law", "function", "nearest", "regression"),
    "background": ("lower", "upper", "uniform", "mixture", "function", "fraction", "bounds"),
    "fit": ("tol", "max_iter", "imputation_error", "arrived", "n_starts", "split_merge", "bootstrap", "seed"),
    "cluster": ("kind", "workers", "memory_limit", "address", "timeout", "queue", "maximum", "path", "arguments"),
    "output": ("path",),
}
INNER = (
    *("lower", "upper", "center", "radius", "normal", "offset", "softness", "edges", "probability", "log_probability"),
    *(
        "interpolation",
        "outside",
        "features",
        "points",
        "found",
        "log_density",
        "file",
        "path",
        "parameters",
        "weights",
    ),
    *("means", "covariances", "degree", "coefficients", "reach", "limits", "calibration", "box", "ball"),
    *("concentration", "scale", "mean", "mean_precision", "degrees_of_freedom"),
)
"""Keys of tables within tables."""


def used(job: Job) -> None:
    """What a fit makes of a job before it looks at data."""
    job.start(job.first_mixture())
    job.survey()
    job.constraints()
    job.stopping()
    job.search()
    job.cluster_spec()
    assert job.output_path.is_absolute()


def guided(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """Text, guided by coverage."""
    write_model(folder / "earlier.run")
    path = folder / "job.toml"

    def run(text: bytes) -> None:
        path.write_bytes(text)
        judge(lambda: used(read_job(path)), text)

    seeds = [file.read_bytes() for file in sorted(SEEDS.glob("*.toml"))]
    first, last = explore(seeds, run, mutated_text, n_inputs=n, seed=seed)
    return {"steps of the seeds": first, "steps of all": last}


def properties(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """Tables of the right names and any values."""
    path = folder / "job.toml"
    numbers = st.integers(-3, 5) | st.integers() | st.floats() | st.just(10**400)
    scalars = numbers | st.booleans() | st.text(max_size=8) | st.sampled_from(["full", "own", "linear", "math:sqrt"])
    values = st.recursive(
        scalars | st.lists(st.floats(-5, 5), min_size=2, max_size=2) | st.just([[1.0, 0.0], [0.0, 1.0]]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
        max_leaves=8,
    )
    tables = st.fixed_dictionaries(
        {
            "data": st.just({"path": "a.zarr"}),
            "model": st.fixed_dictionaries(
                {"n_components": st.integers(1, 4)}, optional=dict.fromkeys(KEYS["model"][1:], values)
            ),
        },
        optional={
            name: st.dictionaries(st.sampled_from(keys), values, max_size=3)
            for name, keys in KEYS.items()
            if name not in ("data", "model")
        },
    )

    def run(document: dict[str, Any]) -> None:
        lines = [
            line
            for name, table in document.items()
            for line in (f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items()))
        ]
        path.write_text("\n".join(lines))
        judge(lambda: used(read_job(path)), "\n".join(lines))

    tried(tables, run, n, seed)
    return {}


def toml(value: Any) -> str:
    """A value in TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case int():
            return str(value)
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{json.dumps(key)} = {toml(item)}' for key, item in value.items())} }}"
    raise TypeError(type(value))
