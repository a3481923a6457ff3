"""Variational Bayes: posteriors of a mixture's parameters, by the passes that serve a maximum."""

from dgmmis.variational.components import NormalWisharts
from dgmmis.variational.fit import VariationalFit, variational_fit
from dgmmis.variational.posterior import Family, Posterior

__all__ = ["Family", "NormalWisharts", "Posterior", "VariationalFit", "variational_fit"]
