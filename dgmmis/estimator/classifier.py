"""GMMisClassifier: discriminant analysis by one Gaussian mixture a class (Hastie & Tibshirani 1996)."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from dgmmis.chunk import check_weights
from dgmmis.errors import DataError, DgmmisError, JobError, RefusedError, ShapeError, nearest_name
from dgmmis.estimator.asked import Asked
from dgmmis.estimator.class_densities import ClassDensities
from dgmmis.estimator.gmmis import GMMis
from dgmmis.estimator.names import check_names
from dgmmis.reals import reals
from dgmmis.rows import Kind, Measured, Question
from dgmmis.selection import Injections
from dgmmis.types import Vector


class GMMisClassifier(ClassifierMixin, Asked):  # type: ignore[misc]
    """Classes told apart by their densities, each a mixture fitted to its own noisy, truncated, incomplete objects.

    Args:
        n_components: of each class's mixture, or {class: number}; None: as `mixture` has it.
        mixture: a GMMis, all of whose options every class's fit has; None: GMMis(). No background: what belongs to no
            class has no share among them, and contaminants can be a class of their own.
        priors: shares pi_c of the classes in the population, before selection: in the order of `classes_`, or
            {class: share}; None: those of the training weights, each divided by the completeness of its class.
        selection: Omega of all classes, or {class: Omega}, None in it where everything was seen; None: as `mixture`
            has it.
        loss: (c, c): what it costs to decide for the class of the column where that of the row is true, in the order of
            `classes_`; None: 1 for every error.

    The objects to be told apart are those of a catalogue that was selected as the training objects were. The prior that
    goes with them is the share in the population, with the density before selection, times each class's own Omega:
    equally the share in the catalogue with the density of what is seen. It does not matter which, as long as both are
    of one kind; priors that are given are of the population. Training weights stand for the catalogue as it is: where
    classes were trained on as many objects as could be had of each, give the priors.

    Attributes:
        classes_: labels (c,), in order.
        priors_: pi_c (c,), of the population.
        mixtures_: the GMMis of each class, in that order.
        completeness_: Z of each class (c,).
        n_features_in_, feature_names_in_: as GMMis has them.
    """

    def __init__(
        self,
        n_components: Any = None,
        *,
        mixture: Any = None,
        priors: Any = None,
        selection: object = None,
        loss: Any = None,
    ) -> None:
        self.n_components = n_components
        self.mixture = mixture
        self.priors = priors
        self.selection = selection
        self.loss = loss

    def fit(
        self, X: Any, y: Any, noise_covariance: Any = None, projection: Any = None, sample_weight: Any = None
    ) -> "GMMisClassifier":
        """Fit a mixture to each class.

        Args:
            X: as for `GMMis.fit`, but for a survey store, whose rows have no labels. NaN = missing.
            y: labels (n,); read at once where they are lazy.
            noise_covariance, projection, sample_weight: as for `GMMis.fit`.

        Raises:
            DgmmisError: its subclasses say what is wrong and what to do, and with which class.
            ValueError: labels that are none.
        """
        template = GMMis() if self.mixture is None else self.mixture
        measured = Measured.of(X, noise_covariance, projection, sample_weight)
        self._check(template, measured)
        rows, labels = measured.settled(), _labels(y)
        check_consistent_length(rows.points, labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        numbers = self._by_class(self.n_components, "n_components", template.n_components)
        selections = self._by_class(self.selection, "selection", template.selection)
        given, self._loss = self._given_priors(), self._given_loss()
        self.mixtures_: list[GMMis] = []
        for c, (label, number, selection) in enumerate(zip(self.classes_, numbers, selections, strict=True)):
            mixture = clone(template).set_params(n_components=number, selection=selection)
            try:
                mixture._fit(rows.take(np.flatnonzero(codes == c)))
            except DgmmisError as error:
                raise type(error)(f"class {label}, its rows counted alone: {error}") from error
            for category, sentence in mixture._complaints():
                warnings.warn(f"class {label}: {sentence}", category, stacklevel=2)
            self.mixtures_.append(mixture)
        check_names(self, measured, reset=True)
        self.n_features_in_ = self.mixtures_[0].n_features_in_
        self.completeness_ = np.array([mixture.completeness_ for mixture in self.mixtures_])
        expected = np.array([mixture.result_.n_samples for mixture in self.mixtures_]) / self.completeness_
        self.priors_ = expected / expected.sum() if given is None else given
        densities = tuple(mixture._density for mixture in self.mixtures_)
        share_selection = not isinstance(self.selection, Mapping)
        self._densities = ClassDensities(densities, self.priors_, share_selection, self.classes_)
        return self

    def predict(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """The class (n,) of smallest expected loss."""
        question = Question(partial(self._fitted().decided, self._loss), Kind(self.classes_.dtype))
        return self._answered(question, X, noise_covariance, projection)

    def predict_proba(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """Probability (n, c) of each class, for objects of the catalogue."""
        question = Question(self._fitted().posterior, Kind(columns={"class": self.classes_}))
        return self._answered(question, X, noise_covariance, projection)

    def predict_log_proba(self, X: Any, noise_covariance: Any = None, projection: Any = None) -> Any:
        """Its logarithm (n, c), good also where the probability is too small for a number."""
        question = Question(self._fitted().log_posterior, Kind(columns={"class": self.classes_}))
        return self._answered(question, X, noise_covariance, projection)

    def score(
        self, X: Any, y: Any, noise_covariance: Any = None, projection: Any = None, sample_weight: Any = None
    ) -> float:
        """One less the mean loss of `predict`, by weight: the accuracy, where every error costs the same."""
        decided = self.predict(X, noise_covariance, projection)
        decided, labels = np.asarray(decided), _labels(y)
        if self._loss is None:
            return float(accuracy_score(labels, decided, sample_weight=sample_weight))
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise DataError(f"the loss says nothing of class {unknown[0]}", expected=self.classes_.tolist())
        lost = self._loss[np.searchsorted(self.classes_, labels), np.searchsorted(self.classes_, decided)]
        weights = None if sample_weight is None else check_weights(sample_weight, len(lost))
        return float(1 - np.average(lost, weights=weights))

    def _fitted(self) -> ClassDensities:
        check_is_fitted(self, "classes_")
        densities: ClassDensities = self._densities
        return densities

    def _check(self, template: Any, measured: Measured) -> None:
        if not isinstance(template, GMMis):
            raise JobError("mixture is no GMMis", got=type(template).__name__, do="give mixture=GMMis(...)")
        if template.background is not None:
            raise RefusedError(
                "a background belongs to none of the classes, and would have no share among them",
                do="leave it out of `mixture`, or make the contaminants a class",
            )
        if self.selection is not None and template.selection is not None:
            raise RefusedError("two selections, of `mixture` and of the classifier", do="leave one out")
        if isinstance(self.selection, Mapping) and any(isinstance(s, Injections) for s in self.selection.values()):
            raise RefusedError(
                "injections of a class do not say Omega at a point, by which classes selected otherwise are compared",
                do="give one selection for all, or one that is known at every point for each",
            )
        if measured.is_store:
            raise RefusedError("the rows of a survey store have no labels", do="give arrays, dask ones for many rows")

    def _by_class(self, value: Any, what: str, default: Any = None) -> list[Any]:
        """One value for each class."""
        known = self.classes_.tolist()
        if not isinstance(value, Mapping):
            return [default if value is None else value] * len(known)
        unknown = [label for label in value if label not in known]
        if unknown:
            do = nearest_name(str(unknown[0]), map(str, known))
            raise JobError(f"{what} of an unknown class '{unknown[0]}'", do=do)
        absent = [label for label in known if label not in value]
        if absent:
            raise JobError(f"{what} without class '{absent[0]}'", do=f"give {what} of every class")
        return [value[label] for label in known]

    def _given_priors(self) -> Vector | None:
        if self.priors is None:
            return None
        by_class = self._by_class(self.priors, "priors") if isinstance(self.priors, Mapping) else self.priors
        priors = reals(by_class, "priors")
        if priors.shape != self.classes_.shape:
            raise ShapeError("priors do not fit the classes", expected=self.classes_.shape, got=priors.shape)
        if not (np.all(priors >= 0) and abs(priors.sum() - 1) < 1e-6):
            raise DataError("priors must be non-negative and sum to one", got=priors, do="divide them by their sum")
        return np.asarray(priors / priors.sum())

    def _given_loss(self) -> np.ndarray | None:
        if self.loss is None:
            return None
        loss, n = reals(self.loss, "loss"), len(self.classes_)
        if loss.shape != (n, n):
            raise ShapeError("loss does not fit the classes", expected=(n, n), got=loss.shape)
        if not np.isfinite(loss).all():
            raise DataError("loss must be finite", got=loss)
        return loss


def _labels(y: Any) -> np.ndarray:
    """Labels (n,), here.

    Raises:
        ValueError: there are none, or they are numbers of no classes.
    """
    if y is None:
        raise JobError("GMMisClassifier requires y to be passed, but the target y is None", do="give a label a row")
    labels = column_or_1d(y.compute() if hasattr(y, "compute") else y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return np.asarray(labels)
