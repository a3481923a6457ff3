"""Priors of the weights."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dgmmis.errors import DataError, ShapeError
from dgmmis.reals import real, reals
from dgmmis.types import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Dirichlet:
    """p(alpha) ~ prod_k alpha_k^(concentration_k - 1).

    From one on it draws weights together, as if each component had concentration_k - 1 objects more. Below one it has
    poles where weights are zero: it then has a mean but no mode, and serves a posterior (`variational_fit`) but no
    maximum (`fit`).

    Args:
        concentration: positive; a number for all components, or one for each (k,).
    """

    concentration: float | Float[np.ndarray, " k"]

    def __post_init__(self) -> None:
        concentration = reals(self.concentration, "Dirichlet: `concentration`")
        if concentration.ndim > 1 or concentration.size == 0:
            raise ShapeError("Dirichlet: `concentration` must be a number or (k,)", got=concentration.shape)
        if not np.all((concentration > 0) & np.isfinite(concentration)):
            raise DataError("Dirichlet: `concentration` must be positive", got=self.concentration)
        object.__setattr__(self, "concentration", concentration if concentration.ndim else float(concentration))

    def vector(self, k: int) -> Weights:
        """The concentrations of k components (k,).

        Raises:
            ShapeError: of another number of components.
        """
        values = np.asarray(self.concentration)
        if values.ndim and values.shape != (k,):
            raise ShapeError("Dirichlet concentration does not fit", expected=f"{k} components", got=values.shape)
        return np.array(np.broadcast_to(values, (k,)))


@dataclass(frozen=True, slots=True, eq=False)
class DirichletProcess:
    """Weights broken off a stick: alpha_k = v_k prod_{j<k} (1 - v_j), v_k ~ Beta(1, concentration).

    Of infinitely many components, of which a fit follows K (Blei & Jordan 2006). A prior for posteriors only
    (`variational_fit`): it changes with the order of the components, and so would its mode.

    Args:
        concentration: positive; the smaller, the fewer components have weight.
    """

    concentration: float

    def __post_init__(self) -> None:
        concentration = real(self.concentration, "DirichletProcess: `concentration`")
        if not 0 < concentration < np.inf:
            raise DataError("DirichletProcess: `concentration` must be positive", got=concentration)
        object.__setattr__(self, "concentration", concentration)
