"""dgmmis: Gaussian mixtures of noisy, truncated, incomplete surveys, on a dask cluster."""

__version__ = "0.1.0"
