"""astroML's XDGMM: an EM step and the likelihood that its loop looks at."""

from astroML.density_estimation import XDGMM
from protocol import now, serve, timed


def prepare(given):
    def run(request):
        peer = XDGMM(len(given["weights"]))
        peer.alpha, peer.mu, peer.V = given["weights"], given["means"], given["covariances"]
        begun, stamps = now(), []
        for _ in range(request["iterations"]):
            peer._EMstep(given["points"], given["noise"])
            peer.logL(given["points"], given["noise"])
            stamps.append(now())
        # its first step prepares nothing: it counts as the others do
        return timed(None, [begun, *stamps])

    return run


if __name__ == "__main__":
    serve(prepare, ["astroML", "numpy"])
