"""Pictures of surveys and fits, two features at a time, and of choices. Needs matplotlib: pip install 'dgmmis[plots]'.

Everything is drawn on the Axes that are given, or on a Figure of its own: no pyplot, no window, no global state.
"""

from dgmmis.plotting.choice import choice_figure, write_choice_figure
from dgmmis.plotting.convergence import convergence_figure
from dgmmis.plotting.corner import corner_figure
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.layers import confidence_ellipses, density_image, require_matplotlib, survey_edges
from dgmmis.plotting.recovery import recovery_figure
from dgmmis.plotting.residuals import residuals_figure
from dgmmis.plotting.timeline import timeline_figure
from dgmmis.plotting.written import write_figure

__all__ = [
    "Extent",
    "choice_figure",
    "confidence_ellipses",
    "convergence_figure",
    "corner_figure",
    "density_image",
    "recovery_figure",
    "require_matplotlib",
    "residuals_figure",
    "survey_edges",
    "timeline_figure",
    "write_choice_figure",
    "write_figure",
]
