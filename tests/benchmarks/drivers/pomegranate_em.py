"""pomegranate, on torch: `summarize` and `from_summaries`, of which its fit consists."""

import torch
from pomegranate.distributions import Normal
from pomegranate.gmm import GeneralMixtureModel
from protocol import now, serve, timed


def prepare(given):
    torch.set_default_dtype(torch.float64)
    points = torch.as_tensor(given["points"])
    diagonal = "diagonal" in given

    def run(request):
        parts = [
            Normal(
                torch.as_tensor(mean),
                torch.as_tensor(covariance.diagonal().copy() if diagonal else covariance),
                covariance_type="diag" if diagonal else "full",
            )
            for mean, covariance in zip(given["means"], given["covariances"])  # noqa: B905 (any python)
        ]
        peer = GeneralMixtureModel(parts, priors=torch.as_tensor(given["weights"]))
        begun, stamps = now(), []
        for _ in range(request["iterations"] + 1):
            peer.summarize(points)
            peer.from_summaries()
            stamps.append(now())
        return timed(begun, stamps)

    return run


if __name__ == "__main__":
    serve(prepare, ["pomegranate", "torch"])
