"""What the M-step must respect: priors, frozen parameters, the covariance structure, the floor."""

from dgmmis.prior.constraints import COVARIANCE_TYPES, Constraints
from dgmmis.prior.frozen import Frozen
from dgmmis.prior.of_components import InverseWishart, NormalInverseWishart
from dgmmis.prior.of_weights import Dirichlet, DirichletProcess
from dgmmis.prior.prior import AnyPrior, Prior

__all__ = [
    "COVARIANCE_TYPES",
    "AnyPrior",
    "Constraints",
    "Dirichlet",
    "DirichletProcess",
    "Frozen",
    "InverseWishart",
    "NormalInverseWishart",
    "Prior",
]
