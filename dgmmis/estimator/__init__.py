"""The scikit-learn contract over `fit`: GMMis estimates a density, GMMisClassifier one for each class."""

from dgmmis.estimator.classifier import GMMisClassifier
from dgmmis.estimator.gmmis import GMMis

__all__ = ["GMMis", "GMMisClassifier"]
