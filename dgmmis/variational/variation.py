"""Variation: coordinate ascent on the bound, by the one loop, of which it is a use with another maximisation.

The bound on the evidence, of q(parameters) and of the best q(labels, true values) that goes with it, is

    sum_n w_n log [sum_k a_k N(y_n | R_n m_k, R_n (Psi_k / nu_k) R_n' + S_n)] - KL(q(parameters) | prior).
"""

from dataclasses import replace
from weakref import WeakKeyDictionary

from dgmmis.callback import Callback
from dgmmis.em import Outcome, Pass, Passing, Stopping, em
from dgmmis.errors import NumericalError
from dgmmis.model import Model
from dgmmis.moments import Expected, Moments
from dgmmis.mstep import Update
from dgmmis.variational.posterior import Family, Posterior


class Variation:
    """One ascent; stateful on purpose: it knows the posterior behind each model that the loop has in hand."""

    def __init__(self, start: Model, family: Family, stopping: Stopping, callback: Callback) -> None:
        self._start, self._family = start, family
        self._stopping, self._callback = stopping, callback
        self._posteriors: WeakKeyDictionary[Model, Posterior] = WeakKeyDictionary()

    def posterior_of(self, model: Model) -> Posterior:
        """What stands behind a model of this ascent."""
        return self._posteriors[model]

    def passing(self) -> Passing:
        """The loop; its first pass, of the start as it is, gives the first posterior, and has no record.

        Raises:
            NumericalError: the sums of a pass are not finite.
        """
        first = yield self._start
        if not first.moments.is_finite:
            raise NumericalError("the first pass over the data gave sums that are not finite")
        loop = em(
            self._maximised(first.moments, self._start).model,
            maximize=self._maximised,
            stopping=self._stopping,
            callback=self._callback,
        )
        model = next(loop)
        while True:
            result = yield model
            try:
                model = loop.send(self._bounded(model, result))
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome

    def _maximised(self, moments: Moments, model: Model) -> Update:
        """The best posterior for what a pass of a model found, as the model of its E-step."""
        mixture = model.mixture
        posterior = self._family.after(Expected.of(moments, mixture.covariances), mixture.means)
        new = posterior.expectation_model()
        self._posteriors[new] = posterior
        return Update(new)

    def _bounded(self, model: Model, result: Pass) -> Pass:
        """A pass whose objective is the bound, per object."""
        posterior = self._posteriors[model]
        log_likelihood = result.log_likelihood + posterior.log_mass
        objective = log_likelihood - posterior.divergence / result.n_samples
        return replace(result, log_likelihood=log_likelihood, objective=objective)
