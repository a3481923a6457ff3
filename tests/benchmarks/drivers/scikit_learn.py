"""scikit-learn's GaussianMixture: each iteration, from one M-step to the next."""

import warnings

import numpy as np
from protocol import now, serve, timed
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

warnings.simplefilter("ignore", ConvergenceWarning)


class Stamped(GaussianMixture):
    """Notes when its M-steps ended."""

    def _m_step(self, *args, **options):
        super()._m_step(*args, **options)
        self.stamps.append(now())


def prepare(given):
    precisions = np.linalg.inv(given["covariances"])
    kind = "diag" if "diagonal" in given else "full"
    if kind == "diag":
        precisions = np.diagonal(precisions, axis1=1, axis2=2)

    def run(request):
        peer = Stamped(
            len(given["weights"]),
            covariance_type=kind,
            tol=0,
            max_iter=request["iterations"] + 1,
            weights_init=given["weights"],
            means_init=given["means"],
            precisions_init=precisions,
            init_params="random",
            random_state=0,
        )
        peer.stamps = []
        peer.fit(given["points"])
        return timed(None, peer.stamps)

    return run


if __name__ == "__main__":
    serve(prepare, ["scikit-learn", "numpy"])
