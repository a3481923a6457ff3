"""Integrals over a box of Gaussian measurements, by sequential conditioning (Genz 1992) with tilts (Botev 2017)."""

from dgmmis.box_integral.integral import box_posterior, log_box_integral

__all__ = ["box_posterior", "log_box_integral"]
