"""Drives astroML's XDGMM in its own environment: `python run_xdgmm.py GIVEN.npz MADE.npz`.

GIVEN: points (n, d), noise (n, d, d), k, tol (of the summed log-likelihood), max_iter, seed.

MADE: alpha (k,), mu (k, d), V (k, d, d) of the fit; start_alpha, start_mu, start_V: where it started, its fit of no
steps; log_density (n,) and log_likelihood, their sum, under the fit.
"""

import sys

import numpy as np
from astroML.density_estimation import XDGMM
from scipy.special import logsumexp


def main(source, target):
    with np.load(source) as file:
        given = dict(file)
    points, noise, k, seed = given["points"], given["noise"], int(given["k"]), int(given["seed"])
    start = XDGMM(k, max_iter=0, random_state=seed).fit(points, noise)
    end = XDGMM(k, max_iter=int(given["max_iter"]), tol=float(given["tol"]), random_state=seed).fit(points, noise)
    np.savez(
        target,
        alpha=end.alpha,
        mu=end.mu,
        V=end.V,
        start_alpha=start.alpha,
        start_mu=start.mu,
        start_V=start.V,
        log_density=logsumexp(end.logprob_a(points, noise), axis=-1),
        log_likelihood=end.logL(points, noise),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
