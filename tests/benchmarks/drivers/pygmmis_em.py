"""pyGMMis: each step of its EM loop. Its pool has a process a core.

Also for a survey that has to be completed: arrays lower, upper (d,), hole (d + 1,) and unseen_noise (d, d); then a
request may give `budget`, seconds after which no further step is begun, and the answer has the model.
"""

import contextlib
import logging

import numpy as np
import pygmmis
from protocol import now, serve, timed

logging.disable(logging.CRITICAL)


class OutOfTime(Exception):
    """Steps ended before they were all done."""


def omega_of(given):
    def omega(points):
        seen = np.all((points >= given["lower"]) & (points <= given["upper"]), axis=1)
        return (seen & (np.sum((points - given["hole"][:-1]) ** 2, axis=1) >= given["hole"][-1] ** 2)).astype(float)

    return omega


def prepare(given):
    step = pygmmis._EMstep
    k, d = given["means"].shape
    options = {"cutoff": float(given["cutoff"])} if "cutoff" in given else {}
    if "hole" in given:
        options.update(sel_callback=omega_of(given), covar_callback=lambda _: given["unseen_noise"])

    def run(request):
        peer = pygmmis.GMM(K=k, D=d)
        peer.amp[:], peer.mean[:], peer.covar[:] = given["weights"], given["means"], given["covariances"]
        stamps, wanted = [], request["iterations"] + 1

        def stamped(*args, **named):
            if stamps and stamps[-1] - begun > request.get("budget", np.inf):
                raise OutOfTime
            found = step(*args, **named)
            stamps.append(now())
            return found

        pygmmis._EMstep = stamped
        begun = now()
        with contextlib.suppress(OutOfTime):
            pygmmis.fit(
                peer,
                given["points"],
                covar=given.get("noise"),
                init_method="none",
                tol=1e-300,
                miniter=wanted,
                maxiter=wanted,
                rng=np.random.RandomState(0),
                **options,
            )
        model = {"weights": peer.amp.tolist(), "means": peer.mean.tolist(), "covariances": peer.covar.tolist()}
        return {**timed(begun, stamps), **(model if "hole" in given else {})}

    return run


if __name__ == "__main__":
    serve(prepare, ["pygmmis", "numpy"])
