"""Prior: what is believed of a mixture before there are data, by its parts."""

from dataclasses import dataclass

from dgmmis.errors import JobError
from dgmmis.prior.of_components import InverseWishart, NormalInverseWishart
from dgmmis.prior.of_weights import Dirichlet, DirichletProcess


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """The prior of weights and components. What is left out is flat.

    Args:
        weights: a Dirichlet, or a DirichletProcess (for `variational_fit`).
        components: an InverseWishart on the covariances, or a NormalInverseWishart on means and covariances.

    Raises:
        JobError: something else in one of its places.
    """

    weights: Dirichlet | DirichletProcess | None = None
    components: InverseWishart | NormalInverseWishart | None = None

    def __post_init__(self) -> None:
        if self.weights is not None and not isinstance(self.weights, (Dirichlet, DirichletProcess)):
            raise JobError(
                "the prior of the weights is none", got=self.weights, do="give weights=Dirichlet(concentration)"
            )
        if self.components is not None and not isinstance(self.components, (InverseWishart, NormalInverseWishart)):
            raise JobError(
                "the prior of the components is none", got=self.components, do="give components=InverseWishart(scale)"
            )

    @classmethod
    def parse(cls, prior: object) -> "Prior":
        """From a prior, one of its parts, or None.

        Raises:
            JobError: it is neither.
        """
        match prior:
            case None:
                return cls()
            case Prior():
                return prior
            case InverseWishart() | NormalInverseWishart():
                return cls(components=prior)
            case Dirichlet() | DirichletProcess():
                return cls(weights=prior)
        raise JobError(
            "prior is no prior",
            expected="InverseWishart, NormalInverseWishart, Dirichlet, or a Prior of them",
            got=prior,
            do="give InverseWishart(scale) for one on the covariances",
        )

    def check(self, k: int, d: int) -> None:
        """Whether it fits k components of d features.

        Raises:
            ShapeError: it does not.
        """
        if isinstance(self.weights, Dirichlet):
            self.weights.vector(k)
        if self.components is not None:
            self.components.matrix(d)


AnyPrior = Prior | InverseWishart | NormalInverseWishart | Dirichlet | DirichletProcess | None
"""A prior, one of its parts, or none."""
