"""GMMis: the scikit-learn contract over `fit`."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

from dgmmis.em import Stopping
from dgmmis.errors import NotConvergedWarning, RepairWarning, RunawayWarning
from dgmmis.estimator.asked import require_no_noise
from dgmmis.estimator.fitted import FittedMixture
from dgmmis.estimator.names import check_names
from dgmmis.estimator.start_method import start_method
from dgmmis.estimator.verbosity import shown
from dgmmis.fit import fit
from dgmmis.initialize import Start
from dgmmis.prior import Constraints, Frozen
from dgmmis.rows import Measured
from dgmmis.search import Search
from dgmmis.survey import Survey


class GMMis(FittedMixture):
    """Gaussian mixture of a noisy, truncated, incomplete survey.

    X may be a numpy, dask or zarr array, a table of pandas or dask, an xarray DataArray, or a survey store. A fit reads
    it chunk by chunk. What is said of rows afterwards is lazy where they are: of a dask array or table in a dask array,
    of a DataArray in one with the coordinates of its rows; of anything else in numpy.

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
        prior: InverseWishart on the covariances, NormalInverseWishart on the means as well, Dirichlet on the weights,
            or a Prior of both.
        frozen: {"weights": [k...], "means": [k...], "covariances": [k...]}: components whose parameter stays as `init`
            has it.
        init: "kmeans", "random", "grid", a GaussianMixture, or the path of a run or a saved model.
        n_init: so many starts, each from another first model; the best maximum wins. They share their readings of the
            data.
        split_merge: rounds of split-and-merge moves at most, from the maximum to a better one.
        tol: smallest gain of the mean log-likelihood that is worth going on for.
        max_iter: passes over the data at most, of a start.
        imputation_error: largest error of any parameter by the imputed points, in units of its statistical error.
        arrived: how many of its standard errors any function of the parameters may be from where the maximum is
            expected; but no more than sqrt(2 n tol), where n objects are expected to gain tol each.
        cutoff: a component takes part only in objects within so many sigmas (of one dimension; in d, the ellipsoid that
            holds the same share of a Gaussian); None: everywhere. `dropped_` is the share of the density left out.
        random_state: a seed, or a RandomState to draw one from; None: 0. The same data and seed give the same bits.
        verbose: show what a fit is doing, on stderr or in a table of the notebook; 0: nothing; 2: every pass, too,
            in a line of its own.

    Attributes:
        weights_, means_, covariances_: of the components (k,), (k, d), (k, d, d).
        model_, mixture_: them as a Model, with the background, and as a GaussianMixture.
        background_amplitude_: the background's fraction.
        completeness_: the fraction of the population that was seen, Z; `completeness_error_` its Monte-Carlo error.
        log_likelihood_: mean per object, normalised under selection.
        n_passes_, n_iter_: readings of the data in all, and passes of the start that won.
        converged_, status_: whether it settled, and why it ended in a sentence.
        history_: a Record for every accepted pass. candidates_: what became of each start and of each move.
        standard_errors_: of weights, means, covariances and background_amplitude (computed when first asked for).
        n_objects_, n_objects_error_: expected number of objects before selection, and its standard error.
        result_: the Fit.
        n_features_in_: features of the data: with projections, those of what they project.
        feature_names_in_: names of X's columns, where X is a table of pandas or dask, or a DataArray whose second
            dimension has a coordinate of words; other names, or another order, are then refused by whatever follows.
        precisions_, precisions_cholesky_, lower_bound_: as scikit-learn's GaussianMixture has them, the bound per
            object (VariationalGMMis: of all together); all arrays over features are full matrices, whatever the
            covariance_type.

    With metadata routing, `noise_covariance`, `projection` and `sample_weight` can be requested by `fit`, `score` and
    the others: they are then cut, row by row, as X is, and a covariance (d, d) is passed on as it is. Noise is in the
    units of what this estimator gets: where X was scaled in a pipeline, it is yours to scale alike.
    """

    # any value is taken here, and refused by `fit`, as scikit-learn has it
    def __init__(
        self,
        n_components: Any = 1,
        *,
        covariance_type: Any = "full",
        selection: Any = None,
        selection_on: Any = "observed",
        noise_law: Any = None,
        background: Any = None,
        prior: Any = None,
        frozen: Any = None,
        init: Any = "kmeans",
        n_init: Any = 1,
        split_merge: Any = 0,
        tol: Any = 1e-6,
        max_iter: Any = 1000,
        imputation_error: Any = 0.1,
        arrived: Any = 0.03,
        cutoff: Any = None,
        random_state: Any = None,
        verbose: Any = 0,
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
        self.arrived = arrived
        self.cutoff = cutoff
        self.random_state = random_state
        self.verbose = verbose

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
            X: numpy, dask or zarr array (n, d), NaN = missing; a table of pandas or dask; an xarray DataArray, rows
                first; or the path, or the Dataset, of a survey store, which brings its own noise, projections and
                weights.
            y: not used; there for pipelines.
            noise_covariance: (d, d), (n, d) variances or (n, d, d).
            projection: R (n, m, d), with X (n, m).
            sample_weight: how often each object counts (n,).
                Each of these may be of any of the kinds that X may be, too.

        Raises:
            DgmmisError: its subclasses say what is wrong and what to do.
        """
        require_no_noise(y)
        self._fit(Measured.of(X, noise_covariance, projection, sample_weight))
        for category, sentence in self._complaints():
            warnings.warn(sentence, category, stacklevel=2)
        return self

    def _fit(self, measured: Measured) -> None:
        constraints = Constraints(
            covariance_type=self.covariance_type,
            prior=self.prior,
            frozen=Frozen.parse(self.frozen, self.n_components),
        )
        start = Start(self.n_components, start_method(self.init), self.background, cutoff=self.cutoff)
        survey = Survey(self.selection, self.noise_law, self.selection_on)
        stopping = Stopping(self.tol, self.max_iter, self.imputation_error, self.arrived)
        search = Search(self.n_init, self.split_merge)
        with tempfile.TemporaryDirectory(prefix="dgmmis-") as folder, shown(self.verbose) as callbacks:
            data = measured.catalogue(Path(folder))
            result = fit(
                data,
                start,
                survey=survey,
                constraints=constraints,
                stopping=stopping,
                search=search,
                seed=self._seed(),
                callbacks=callbacks,
            )
        check_names(self, measured, reset=True)
        self._keep(result)
        self.model_, self.mixture_ = result.model, result.model.mixture
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

    def _complaints(self) -> list[tuple[type[Warning], str]]:
        """What a user should be warned of after a fit."""
        said: list[tuple[type[Warning], str]] = [(RunawayWarning, str(one)) for one in self.result_.runaways]
        said += [(RepairWarning, sentence) for sentence in self.result_.repairs]
        return said if self.converged_ else [(NotConvergedWarning, self.status_), *said]
