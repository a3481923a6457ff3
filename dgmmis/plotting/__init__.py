"""Pictures of surveys and fits, two features at a time, and of choices. Needs matplotlib: pip install 'dgmmis[plots]'.

Everything is drawn on the Axes that are given, or on a Figure of its own: no pyplot, no window, no global state. Data
are counted chunk by chunk, whatever their size; names and units are those of the store.

    from dgmmis import Dataset, read_run
    from dgmmis.plotting import corner_figure, iso_density, marginals_figure

    run, data = read_run("survey.run"), Dataset.open("survey.zarr")
    marginals_figure(run, data, features=["x", "y"]).savefig("marginals.png")
    figure = corner_figure(run, data, levels=(0.68, 0.95), contours=())
    iso_density(run.model, figure.axes[2], levels=[0.5], label="half of the population")
    figure.axes[2].legend()
    figure.savefig("corner.pdf")
"""

from dgmmis.plotting.choice import choice_figure, write_choice_figure
from dgmmis.plotting.completeness import completeness_figure
from dgmmis.plotting.contours import iso_density
from dgmmis.plotting.convergence import convergence_figure
from dgmmis.plotting.corner import corner_figure
from dgmmis.plotting.extent import Extent
from dgmmis.plotting.layers import (
    component_numbers,
    confidence_ellipses,
    density_image,
    require_matplotlib,
    survey_edges,
)
from dgmmis.plotting.marginals import marginals_figure
from dgmmis.plotting.membership import membership_figure
from dgmmis.plotting.recovery import recovery_figure
from dgmmis.plotting.residuals import residuals_figure
from dgmmis.plotting.timeline import timeline_figure
from dgmmis.plotting.written import write_figure

__all__ = [
    "Extent",
    "choice_figure",
    "completeness_figure",
    "component_numbers",
    "confidence_ellipses",
    "convergence_figure",
    "corner_figure",
    "density_image",
    "iso_density",
    "marginals_figure",
    "membership_figure",
    "recovery_figure",
    "require_matplotlib",
    "residuals_figure",
    "survey_edges",
    "timeline_figure",
    "write_choice_figure",
    "write_figure",
]
