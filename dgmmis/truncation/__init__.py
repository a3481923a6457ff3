"""Gaussians in a rectangle: the probability, its derivatives, and the moments of what is inside."""

from dgmmis.truncation.rectangle import Rectangle, rectangle
from dgmmis.truncation.truncated import Truncated, truncated_moments

__all__ = ["Rectangle", "Truncated", "rectangle", "truncated_moments"]
