"""Standard errors: the information that the observed objects carry about each parameter, in two forms.

The score of an object is s_n = d/dtheta [log L_n - log Z_n]. The sum of s_n s_n' over the objects is the information
(Berndt, Hall, Hall & Hausman 1974), and so is minus the sum of ds_n / dtheta where the model is right; where it is not,
both together say how estimates scatter (Huber 1967; White 1982). All of it follows from the g_nk and H_nk of the M-step
(`Moments`).
"""

from dgmmis.information.curvature import second_matrix
from dgmmis.information.errors import Information, StandardErrors, resolved_covariance, standard_errors
from dgmmis.information.of_prior import LEAST, component_curvature, prior_curvature, prior_slope
from dgmmis.information.parameters import component_places, free_directions, gradient, n_directions
from dgmmis.information.scores import (
    Pairs,
    ScoreProducts,
    Terms,
    block_scores,
    block_terms,
    density_slopes,
    latent_scores,
    latent_terms,
    pairs_of,
    point_weights,
)

__all__ = [
    "LEAST",
    "Information",
    "Pairs",
    "ScoreProducts",
    "StandardErrors",
    "Terms",
    "block_scores",
    "block_terms",
    "component_curvature",
    "component_places",
    "density_slopes",
    "free_directions",
    "gradient",
    "latent_scores",
    "latent_terms",
    "n_directions",
    "pairs_of",
    "point_weights",
    "prior_curvature",
    "prior_slope",
    "resolved_covariance",
    "second_matrix",
    "standard_errors",
]
