"""Parts of a first model: what a sample's rows count, their clusters, the Gaussians of these, which of them are one."""

from dgmmis.starts.cuts import median_cuts
from dgmmis.starts.gaussians import Gaussians, gaussians
from dgmmis.starts.kmeans import Clusters, clusters, without_outliers
from dgmmis.starts.merging import merged, split
from dgmmis.starts.positions import Positions
from dgmmis.starts.row_weights import row_weights

__all__ = [
    "Clusters",
    "Gaussians",
    "Positions",
    "clusters",
    "gaussians",
    "median_cuts",
    "merged",
    "row_weights",
    "split",
    "without_outliers",
]
