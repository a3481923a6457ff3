"""gmmx, on JAX, in single precision, the only one it takes: differences of two lengths of a compiled run."""

import jax
import numpy as np
from gmmx import EMFitter, GaussianMixtureModelJax
from protocol import now, serve

MORE = 3


def prepare(given):
    covariances, kind = given["covariances"], "full"
    if "diagonal" in given:
        covariances, kind = np.diagonal(covariances, axis1=1, axis2=2), "diag"
    points, means, covariances, weights = (
        jax.numpy.asarray(array, dtype=np.float32)
        for array in (given["points"], given["means"], covariances, given["weights"])
    )
    start = GaussianMixtureModelJax.from_squeezed(means, covariances, weights, kind)

    def seconds(iterations):
        begun = now()
        found = EMFitter(max_iter=iterations, tol=0.0).fit(x=points, gmm=start)
        jax.block_until_ready(found)
        assert int(found.n_iter) == iterations
        return now() - begun

    first = seconds(1)
    seconds(1 + MORE)

    def run(request):
        short, long = seconds(1), seconds(1 + MORE)
        return {"first": first, "seconds": [(long - short) / MORE] if long > short else []}

    return run


if __name__ == "__main__":
    serve(prepare, ["gmmx", "jax"])
