"""Run stores: model.npz with other arrays, other words, other bytes; read, described, scored, sampled."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dgmmis.dataset.checkpoint import read_run
from dgmmis.drawing import sample_run
from dgmmis.prediction import score_run
from fuzzing.commands import called
from fuzzing.judgement import Judge
from fuzzing.material import copied, good, npz, run_arrays
from fuzzing.mutation import mutated_bytes, mutated_json

NAMES = ("selected.run", "plain.run")


def mutated(judge: Judge, folder: Path, n: int, seed: int) -> dict[str, int]:
    """One thing is changed, and the run is read; one time in ten it is put to use."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        name = NAMES[number % 2]
        run = copied(name, folder)
        how = _spoil(run / "model.npz", name, rng)
        error = judge(partial(read_run, run), f"{name} {how}")
        if error is None or number % 10 == 0:
            out, which = folder / f"out{number}.zarr", "seen" if name == NAMES[0] else "population"
            judge(partial(called, ["info", str(run)]), f"info {name} {how}")
            judge(partial(sample_run, run, 5, out, which=which), f"sample {how}")
            if number % 20 < 2:
                judge(partial(score_run, run, good() / "shared.zarr"), f"score {how}")
    return {}


def _spoil(file: Path, name: str, rng: np.random.Generator) -> str:
    arrays: dict[str, Any] = run_arrays(name)
    keys = sorted(arrays)
    key = keys[int(rng.integers(len(keys)))]
    kind = int(rng.integers(8))
    if kind <= 2:
        document = mutated_json(json.loads(str(arrays["document"])), rng)
        arrays["document"] = np.array(json.dumps(document))
        key = f"document {json.dumps(document)}"
    elif kind == 3:
        del arrays[key]
    elif kind in (4, 5):
        arrays[key] = _another(arrays[key], rng)
    elif kind == 6:
        file.write_bytes(mutated_bytes(file.read_bytes(), rng))
        return "bytes"
    else:
        arrays["../x" if rng.random() < 0.5 else f"{key}.more"] = np.ones(2)
    file.write_bytes(npz(arrays, pickled=True))
    return f"{kind} {key} {str(arrays.get(key))[:300]}"


def _another(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of another shape, type or value."""
    match int(rng.integers(9)):
        case 0:
            return array.ravel()
        case 1:
            return array[None]
        case 2:
            return array.astype("U10") if array.dtype.kind == "f" else np.array(3.0)
        case 3:
            return array.astype(object)
        case 4:
            return np.zeros(0)
        case 5 if array.dtype.kind == "f":
            return array.astype(complex)
        case 6 if array.dtype.kind == "f":
            return array * float(rng.choice([0.0, -1.0, 2.0, np.nan, np.inf, 1e200, 1e-200]))
        case 7 if array.dtype.kind == "f" and array.size:
            out = array.copy()
            out.flat[int(rng.integers(out.size))] = rng.choice([np.nan, np.inf, -1.0, 0.0, 1e300, 1e-300])
            return out
        case _:
            return array[..., :-1] if array.ndim else np.array([array, array])
