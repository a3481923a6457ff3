"""Drives pyGMMis in its own environment: `python run_pygmmis.py GIVEN.npz MADE.npz`.

GIVEN: points (n, d), amp (k,), mean (k, d), covar (k, d, d): where it starts. Optional:
- noise (d, d) or (n, d, d), projection (n, d, d), w, frozen_amp, frozen_mean, frozen_covar: numbers of components;
- footprint (2, d) and background_amp;
- selection_lower and selection_upper (d,): a box, with hole (d + 1,): without a ball (centre, radius); or slope (d,):
  Omega = 1 / (1 + exp(slope . y)); with unseen_noise (d, d);
- oversampling, tol, max_iter: its own defaults where they are left out; seeds (s,): a fit for each;
- save: a path that GMM.save is to write the start to, and with what else of the above in saved_with, names.

MADE: names: of its public functions, their arguments, its classes and what they have; log_density, called (n,): of the
points under the start, from `logL` and from calling the mixture; of the fits log_likelihood (s,) as `fit` returns it,
amp (s, k), mean (s, k, d), covar (s, k, d, d), background_amp (s,).
"""

import inspect
import sys

import numpy as np
import pygmmis


def omega_of(given):
    """Omega as pyGMMis calls it, (n, d) -> (n,); None: everything is seen."""
    if "slope" in given:
        return lambda points: 1 / (1 + np.exp(points @ given["slope"]))
    if "selection_lower" not in given:
        return None
    lower, upper, hole = given["selection_lower"], given["selection_upper"], given.get("hole")

    def omega(points):
        seen = np.all((points >= lower) & (points <= upper), axis=1)
        if hole is not None:
            seen &= np.sum((points - hole[:-1]) ** 2, axis=1) >= hole[-1] ** 2
        return seen.astype(float)

    return omega


def mixture_of(given):
    mixture = pygmmis.GMM(K=len(given["amp"]), D=given["mean"].shape[1])
    mixture.amp, mixture.mean, mixture.covar = (given[name].copy() for name in ("amp", "mean", "covar"))
    return mixture


def fitted(given, seed):
    mixture, background = mixture_of(given), None
    if "footprint" in given:
        background = pygmmis.Background(given["footprint"], amp=float(given["background_amp"]))
    unseen = given.get("unseen_noise")
    frozen = {name: given[f"frozen_{name}"].tolist() for name in ("amp", "mean", "covar") if f"frozen_{name}" in given}
    options = {"oversampling": int, "tol": float, "max_iter": int, "w": float}
    chosen = {name.replace("_", ""): kind(given[name]) for name, kind in options.items() if name in given}
    log_likelihood, _ = pygmmis.fit(
        mixture,
        given["points"],
        covar=given.get("noise"),
        R=given.get("projection"),
        init_method="none",
        sel_callback=omega_of(given),
        covar_callback=None if unseen is None else lambda points: unseen,
        background=background,
        frozen=frozen or None,
        rng=np.random.RandomState(seed),
        **chosen,
    )
    return log_likelihood, mixture, 0.0 if background is None else background.amp


def public(of):
    """Functions, classes and properties of a module or a class."""
    kinds = (property, staticmethod)
    named = {name: what for name, what in vars(of).items() if not name.startswith("_")}
    return {name: what for name, what in named.items() if callable(what) or isinstance(what, kinds)}


def names_of(module):
    """Of what a user may call or give."""
    own = {name: what for name, what in public(module).items() if getattr(what, "__module__", "") == "pygmmis"}
    names = {*own, *public(module.GMM), *public(module.Background), *inspect.signature(module.fit).parameters}
    return sorted(names)


def main(source, target):
    with np.load(source) as file:
        given = dict(file)
    made = {"names": names_of(pygmmis)}
    if not np.isnan(given["points"]).any():
        start = mixture_of(given)
        made["log_density"] = start.logL(given["points"], covar=given.get("noise"))
        made["called"] = start(given["points"], covar=given.get("noise"), as_log=True)
    fits = [fitted(given, int(seed)) for seed in given.get("seeds", [])]
    if fits:
        made["log_likelihood"] = [log_likelihood for log_likelihood, _, _ in fits]
        made["background_amp"] = [fraction for _, _, fraction in fits]
        for name in ("amp", "mean", "covar"):
            made[name] = [getattr(mixture, name) for _, mixture, _ in fits]
    if "save" in given:
        more = {str(name): given[str(name)] for name in given.get("saved_with", [])}
        mixture_of(given).save(str(given["save"]), **more)
    np.savez(target, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
