"""The scikit-learn contract over `fit`: GMMis estimates a density, GMMisClassifier one for each class, VariationalGMMis
the posterior of one."""

from dgmmis.estimator.classifier import GMMisClassifier
from dgmmis.estimator.gmmis import GMMis
from dgmmis.estimator.variational import VariationalGMMis

__all__ = ["GMMis", "GMMisClassifier", "VariationalGMMis"]
