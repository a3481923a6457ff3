"""The prior that [model] names."""

from typing import Any

import numpy as np

from dgmmis.errors import JobError
from dgmmis.job.job_tables import ModelTable, PriorTable, read_table
from dgmmis.prior import Dirichlet, InverseWishart, NormalInverseWishart, Prior

OF_MEANS = ("mean", "mean_precision", "degrees_of_freedom")


def prior_of(model: ModelTable) -> Prior | InverseWishart | None:
    """What the table [model.prior] says, or `prior_scale`, which is its `scale` alone in jobs from before it.

    Raises:
        JobError: no keys, keys that it does not have, or that do not go together.
        DgmmisError: values that cannot be.
    """
    if model.prior is None:
        return None if model.prior_scale is None else InverseWishart(_reals(model.prior_scale))
    if model.prior_scale is not None:
        raise JobError("[model] has both prior_scale and a table [model.prior]", do="write prior.scale instead")
    if not model.prior:
        raise JobError(
            "[model.prior] is empty",
            do="give a concentration, of weights, or a scale, of covariances; or leave the table out",
        )
    table: PriorTable = read_table("model.prior", model.prior, PriorTable)
    weights = None if table.concentration is None else Dirichlet(_reals(table.concentration))
    lacking = [key for key in ("scale", *OF_MEANS) if getattr(table, key) is None]
    if len(lacking) == 4:
        return Prior(weights)
    if lacking == list(OF_MEANS):
        return Prior(weights, InverseWishart(_reals(table.scale)))
    if lacking:
        raise JobError(
            f"[model.prior] lacks {', '.join(lacking)}",
            do="give all of scale, mean, mean_precision and degrees_of_freedom; for covariances only, scale alone",
        )
    of_components = {key: _reals(getattr(table, key)) for key in ("scale", *OF_MEANS)}
    return Prior(weights, NormalInverseWishart(**of_components))


def _reals(values: Any) -> Any:
    return np.asarray(values, dtype=float) if isinstance(values, list) else float(values)
