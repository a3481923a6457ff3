"""GMMis: the scikit-learn contract over `fit`."""

import numbers
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dgmmis import criteria
from dgmmis.background import Background
from dgmmis.catalogue import Drawn, drawn
from dgmmis.chunk import Chunk
from dgmmis.dataset.arrays import ArrayDataset, Catalogue
from dgmmis.dataset.place import place_of
from dgmmis.em import Stopping
from dgmmis.errors import JobError, NotConvergedWarning, RefusedError, RepairWarning, ShapeError, nearest_name
from dgmmis.execution.blas import one_blas_thread
from dgmmis.fit import fit
from dgmmis.information import StandardErrors
from dgmmis.initialize import START_METHODS, Start
from dgmmis.mixture import GaussianMixture
from dgmmis.model import Model
from dgmmis.noise_law import OwnNoise
from dgmmis.prior import Constraints, Frozen, InverseWishart
from dgmmis.scoring import labels, log_densities, log_normalisers, score_rows
from dgmmis.search import Search
from dgmmis.selection import Injections
from dgmmis.survey import Survey
from dgmmis.types import Points, Vector

DENSITIES = ("likelihood", "population", "observed")


class GMMis(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Gaussian mixture of a noisy, truncated, incomplete survey.

    Args:
        n_components: K.
        covariance_type: "full", "diag", "tied" or "spherical".
        selection: Omega, the probability that an object was seen: a Selection, Injections, or a callable
            (n, d) -> (n,).
        selection_on: what Omega acts on: "observed" (the measured values of all features, before some went missing),
            "available" (those that are there; Omega gets NaN for the others), or "true" (values without noise).
        noise_law: the noise of objects that were not seen: "own" (each object's own, in noise classes), a covariance
            (d, d), a callable (n, d) -> (d, d) or (n, d, d) of the true position, "nearest" or "regression" (found in
            the catalogue); None: "own" where the noise differs by object, else the one that all share.
        background: a fixed density whose fraction is fitted: Uniform, FixedMixture, FixedDensity.
        prior: InverseWishart on the covariances.
        frozen: {"weights": [k...], "means": [k...], "covariances": [k...]}: components whose parameter stays as `init`
            has it.
        init: "kmeans", "random", "grid", a GaussianMixture, or the path of a run.
        n_init: so many starts, each from another first model; the best maximum wins. They share their readings of the
            data.
        split_merge: rounds of split-and-merge moves at most, from the maximum to a better one.
        tol: smallest gain of the mean log-likelihood that is worth going on for.
        max_iter: passes over the data at most, of a start.
        imputation_error: largest error of any parameter by the imputed points, in units of its statistical error.
        cutoff: a component takes part only in objects within so many sigmas (of one dimension; in d, the ellipsoid that
            holds the same share of a Gaussian); None: everywhere. `dropped_` is the share of the density left out.
        random_state: a seed, or a RandomState to draw one from; None: 0. The same data and seed give the same bits.

    Attributes:
        weights_, means_, covariances_: of the components (k,), (k, d), (k, d, d).
        mixture_: them as a GaussianMixture.
        background_amplitude_: the background's fraction.
        completeness_: the fraction of the population that was seen, Z; `completeness_error_` its Monte-Carlo error.
        log_likelihood_: mean per object, normalised under selection.
        n_passes_, n_iter_: readings of the data in all, and passes of the start that won.
        converged_, status_: whether it settled, and why it ended in a sentence.
        history_: a Record for every accepted pass. candidates_: what became of each start and of each move.
        standard_errors_: of weights, means, covariances and background_amplitude (computed when first asked for).
        n_objects_, n_objects_error_: expected number of objects before selection, and its standard error.
        result_: the Fit.
        n_features_in_: features of the data.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        selection: object = None,
        selection_on: str = "observed",
        noise_law: object = None,
        background: Background | None = None,
        prior: InverseWishart | None = None,
        frozen: Mapping[str, Sequence[int]] | None = None,
        init: str | Path | GaussianMixture = "kmeans",
        n_init: int = 1,
        split_merge: int = 0,
        tol: float = 1e-6,
        max_iter: int = 1000,
        imputation_error: float = 0.1,
        cutoff: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.selection = selection
        self.selection_on = selection_on
        self.noise_law = noise_law
        self.background = background
        self.prior = prior
        self.frozen = frozen
        self.init = init
        self.n_init = n_init
        self.split_merge = split_merge
        self.tol = tol
        self.max_iter = max_iter
        self.imputation_error = imputation_error
        self.cutoff = cutoff
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: object = None,
        noise_covariance: Any = None,
        projection: Any = None,
        sample_weight: Any = None,
    ) -> "GMMis":
        """Fit the mixture.

        Args:
            X: numpy, dask or zarr array (n, d), NaN = missing; or the path, or the Dataset, of a survey store, which
                brings its own noise, projections and weights.
            y: not used; there for pipelines.
            noise_covariance: (d, d), (n, d) variances or (n, d, d).
            projection: R (n, m, d), with X (n, m).
            sample_weight: how often each object counts (n,).

        Raises:
            DgmmisError: its subclasses say what is wrong and what to do.
        """
        del y
        constraints = Constraints(
            covariance_type=self.covariance_type,
            prior=self.prior,
            frozen=Frozen.parse(self.frozen, self.n_components),
        )
        start = Start(self.n_components, _method(self.init), self.background, cutoff=self.cutoff)
        survey = Survey(self.selection, self.noise_law, self.selection_on)
        stopping = Stopping(self.tol, self.max_iter, self.imputation_error)
        search = Search(self.n_init, self.split_merge)
        with tempfile.TemporaryDirectory(prefix="dgmmis-") as folder:
            data = _catalogue(X, noise_covariance, projection, sample_weight, Path(folder))
            result = fit(
                data,
                start,
                survey=survey,
                constraints=constraints,
                stopping=stopping,
                search=search,
                seed=self._seed(),
            )
        self.result_, self.model_, self._constraints = result, result.model, constraints
        self._errors: StandardErrors | None = None
        self.mixture_ = result.model.mixture
        self.weights_, self.means_ = self.mixture_.weights, self.mixture_.means
        self.covariances_ = self.mixture_.covariances
        self.background_amplitude_ = result.model.background_fraction
        self.completeness_, self.completeness_error_ = result.completeness, result.completeness_error
        self.log_likelihood_, self.n_passes_ = result.log_likelihood, result.n_passes
        self.n_iter_ = result.records[-1].iteration + 1
        self.converged_, self.status_ = result.converged, result.status.value
        self.dropped_ = result.dropped
        self.history_, self.candidates_ = result.records, result.candidates
        self.n_features_in_ = data.n_features
        if not result.converged:
            warnings.warn(result.status.value, NotConvergedWarning, stacklevel=2)
        for sentence in result.repairs:
            warnings.warn(sentence, RepairWarning, stacklevel=2)
        return self

    @property
    def standard_errors_(self) -> StandardErrors:
        """Of the parameters: weights (k,), means (k, d), covariances (k, d, d), background_amplitude."""
        self._fitted()
        if self._errors is None:
            self._errors = self.result_.standard_errors()
        return self._errors

    @property
    def n_objects_(self) -> float:
        """Expected number of objects before selection."""
        self._fitted()
        return float(self.result_.n_objects(self.standard_errors_)[0])

    @property
    def n_objects_error_(self) -> float:
        """Standard error of `n_objects_`: of the parameters, of the imputed points, and of who was seen."""
        self._fitted()
        return float(self.result_.n_objects(self.standard_errors_)[1])

    def score_samples(
        self, X: Any, noise_covariance: Any = None, projection: Any = None, *, density: str = "likelihood"
    ) -> Vector:
        """Log density (n,) at measured points.

        Args:
            X: measured values (n, d), NaN = missing; or the path, or the Dataset, of a survey store, whose rows come
                back in the order of the catalogue, whatever that of the store.
            noise_covariance, projection: of them, as for `fit`.
            density: "likelihood": log L_n - log Z, as a fit counts an object that is in the catalogue (log Omega at
                points measured in full, a constant of the fit, is left out); "population": log p, before selection;
                "observed": log of Omega p / Z, which integrates to one over what the survey sees.

        Raises:
            JobError: another density.
            RefusedError: the observed density where injections took the place of Omega.
        """
        if density not in DENSITIES:
            raise JobError(f"unknown density '{density}'", do=nearest_name(density, DENSITIES))
        model, observing = self._fitted(), self.result_.observing
        if density == "population":
            observing = replace(observing, survey=Survey())
        if density == "observed" and isinstance(observing.survey.selection, Injections):
            raise RefusedError("injections do not say Omega at a point", do="use the 'likelihood' or the 'population'")

        def log_density_of(chunk: Chunk) -> Iterator[Vector]:
            log_density = np.concatenate([log_densities(model, leaf, observing) for leaf in chunk.leaf_chunks()])
            if density != "population":
                log_density = log_density - self._log_normalisers(chunk)
            if density == "observed" and observing.survey.selection is not None:
                rows = np.flatnonzero(~observing.survey.tilts(chunk))
                with np.errstate(divide="ignore"):
                    log_density[rows] += np.log(observing.survey.selection(chunk.points[rows]))
            yield log_density

        return self._row_by_row(log_density_of, X, noise_covariance, projection)

    def score(self, X: Any, y: object = None, noise_covariance: Any = None, projection: Any = None) -> float:
        """Mean of `score_samples`."""
        del y
        return float(np.mean(self.score_samples(X, noise_covariance, projection)))

    def predict_proba(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Points:
        """Responsibilities (n, k) for objects of the catalogue; what they lack to one is the background's."""
        return self._row_by_row(self._responsibilities, X, noise_covariance, projection)

    def predict(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> np.ndarray:
        """The most probable component of each point (n,); -1 where the background is more probable than any, and for an
        object whose latent values could not have been selected, whatever they were."""
        return self._row_by_row(
            lambda chunk: map(labels, self._responsibilities(chunk)), X, noise_covariance, projection
        )

    def sample_catalogue(self, n_samples: int = 1, *, which: str = "seen") -> Drawn:
        """Draw objects measured and selected as in the survey: those "seen", those "unseen", or the "population"."""
        result = self.result_
        return drawn(
            self._fitted(),
            result.survey,
            noise_classes=result.noise_classes,
            by_class=result.by_class,
            n=n_samples,
            seed=self._seed(),
            which=which,
        )

    def sample(self, n_samples: int = 1) -> tuple[Points, np.ndarray]:
        """Draw noise-free points (n, d) of the whole population, and their components (n,); -1: background."""
        return self._fitted().labelled_sample(n_samples, self._seed())

    def bic(self, X: Any, noise_covariance: Any = None) -> float:
        """Bayesian information criterion on X; smaller is better."""
        scores = self.score_samples(X, noise_covariance)
        return criteria.bic(float(scores.sum()), self._n_parameters(), len(scores))

    def aic(self, X: Any, noise_covariance: Any = None) -> float:
        """Akaike information criterion on X; smaller is better."""
        return criteria.aic(float(self.score_samples(X, noise_covariance).sum()), self._n_parameters())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _seed(self) -> int:
        if self.random_state is None:
            return 0
        if isinstance(self.random_state, numbers.Integral):
            if self.random_state < 0:
                raise JobError("random_state must not be negative", got=self.random_state)
            return int(self.random_state)
        try:
            return int(check_random_state(self.random_state).randint(1 << 31))
        except ValueError as error:
            raise JobError("random_state is no seed", expected="a whole number, or a RandomState", got=error) from error

    def _n_parameters(self) -> int:
        return criteria.n_parameters(self._fitted(), self._constraints)

    def _fitted(self) -> Model:
        check_is_fitted(self, "mixture_")
        model: Model = self.model_
        return model

    def _row_by_row(
        self, function: Callable[[Chunk], Iterator[np.ndarray]], X: Any, noise_covariance: Any, projection: Any
    ) -> np.ndarray:
        """What a function says of each row of X, chunk by chunk and there of some rows after the other, in the order of
        the catalogue."""
        model = self._fitted()
        data = _stored(X, noise_covariance, projection)
        if data is None:
            data = ArrayDataset.of(X, noise_covariance, projection=projection)
        if data.n_features != model.mixture.n_features:
            raise ShapeError(
                f"X has {data.n_features} features, but GMMis is expecting {model.mixture.n_features} features as input"
            )
        n = sum(reference.n_rows for reference in data.references)
        out: np.ndarray | None = None
        with one_blas_thread():  # the bits do not depend on how many cores there are
            for reference in data.references:
                numbers, done = reference.numbers(np.arange(reference.n_rows)), 0
                for values in function(reference.load()):
                    if out is None:
                        out = np.empty((n, *values.shape[1:]), values.dtype)
                    out[numbers[done : done + len(values)]] = values
                    done += len(values)
        return np.empty(0) if out is None else out

    def _responsibilities(self, chunk: Chunk) -> Iterator[Points]:
        """Those (n, k) of a chunk's rows, leaf by leaf."""
        for leaf in chunk.leaf_chunks():
            yield score_rows(self._fitted(), leaf, self.result_.observing).responsibilities

    def _log_normalisers(self, chunk: Chunk) -> Vector:
        """log Z (n,): that of the fit where it is the same for every object."""
        points_of = self.result_.points_of
        alike = points_of is None or points_of.partition.is_trivial
        if alike and chunk.projection is None and not isinstance(self.result_.survey.noise_law, OwnNoise):
            return np.full(chunk.n_samples, np.log(self.completeness_))
        return log_normalisers(self._fitted(), chunk, self.result_.observing)


def _method(init: str | Path | GaussianMixture) -> str | GaussianMixture:
    """How to start: an earlier run by its mixture."""
    if isinstance(init, GaussianMixture):
        return init
    if not isinstance(init, (str, Path)):
        raise JobError(
            "init is no way to start",
            expected=f"{', '.join(START_METHODS)}, a GaussianMixture, or the path of a run",
            got=type(init).__name__,
        )
    if str(init) in START_METHODS:
        return str(init)
    if not (place_of(init) / "model.npz").is_file():
        raise JobError(
            f"init '{init}' is neither a way to start nor the path of a run",
            do=nearest_name(str(init), START_METHODS),
        )
    from dgmmis.dataset.checkpoint import read_run

    return read_run(init).model.mixture


def _stored(X: Any, *others: Any) -> Catalogue | None:
    """The survey store that X is, or is the path of; None for anything else."""
    from dgmmis.dataset.dataset import Dataset

    if isinstance(X, (str, Path)):
        X = Dataset.open(X)
    if not isinstance(X, Dataset):
        return None
    if any(value is not None for value in others):
        raise RefusedError("a survey store brings its own noise, projections and weights", do="leave them out")
    return X


def _catalogue(X: Any, noise_covariance: Any, projection: Any, sample_weight: Any, folder: Path) -> Catalogue:
    """The data as a catalogue: a store as it is; dask and zarr arrays chunk by chunk into a store in `folder`."""
    store = _stored(X, noise_covariance, projection, sample_weight)
    if store is not None:
        return store
    if hasattr(X, "chunks"):
        from dgmmis.dataset.spool import spool

        return spool(folder / "survey.zarr", X, noise_covariance, projection=projection, sample_weight=sample_weight)
    return ArrayDataset.of(X, noise_covariance, projection=projection, sample_weight=sample_weight)
