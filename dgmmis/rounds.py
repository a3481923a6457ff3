"""Rounds of imputed points: EM on fixed points, then new and more of them from where it ended, until it is enough."""

import math

from dgmmis.acceleration import Anderson
from dgmmis.callback import Callback, History
from dgmmis.em import Outcome, Pass, Status, Stopping, em
from dgmmis.errors import UnseenError
from dgmmis.model import Model
from dgmmis.mstep import maximize
from dgmmis.passes import Passes
from dgmmis.quadrature import Round

FIRST_POINTS = 1 << 13
MOST_POINTS = 1 << 20
"""Or a quarter of the number of objects, where that is more."""

POINTS_GROWTH = 4
MONTE_CARLO_SHARE = 0.03
"""Largest Monte-Carlo error of the number of unseen objects, in units of its binomial error.

Parameters that only the unseen part of a component decides feel it several times enlarged: at 0.1 the number of objects
of the box-with-hole survey scattered by 0.6 % between seeds, at 0.03 by 0.2 %, a tenth of its statistical error."""


def rounds(
    passes: Passes, model: Model, *, stopping: Stopping, seed: int, callback: Callback, history: History
) -> Outcome:
    """EM from a model to the end; under selection in rounds, the last of which starts where it ends.

    Raises:
        UnseenError: even with the most points the completeness cannot be told from zero.
    """
    constraints = passes.constraints
    accelerator = Anderson(constraints)
    n_points, index = FIRST_POINTS, 0
    while True:
        if passes.needs_points:
            passes.begin_round(Round.of(model, n_points, seed, index))
        accelerator.begin_round()
        try:
            outcome = em(
                passes,
                model,
                maximize=lambda moments, at: maximize(moments, at, constraints),
                stopping=stopping,
                accelerator=accelerator,
                callback=callback,
                first=history.records[-1] if history.records else None,
            )
        except UnseenError:
            if n_points >= MOST_POINTS:
                raise
            n_points, index = n_points * POINTS_GROWTH, index + 1
            continue
        model = outcome.model
        if not passes.needs_points or outcome.status is Status.MAX_ITERATIONS:
            return outcome
        if outcome.status is Status.CONVERGED:
            most = max(MOST_POINTS, 1 << math.ceil(math.log2(outcome.last.n_samples / 4 + 1)))
            precise = _is_precise(outcome.last)
            if index > 0 and precise:
                return outcome
            if not precise and n_points >= most:
                return Outcome(model, outcome.last, Status.IMPRECISE)
            n_points = n_points if precise else min(n_points * POINTS_GROWTH, most)
        index += 1


def _is_precise(last: Pass) -> bool:
    """Whether the error of N / Z is a small part of its binomial one, that is, of Z by Z sqrt((1 - Z) / N)."""
    binomial = last.completeness * math.sqrt(max(1 - last.completeness, 0.0) / last.n_samples)
    return last.completeness_error <= MONTE_CARLO_SHARE * binomial
