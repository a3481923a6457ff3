"""The pictures of a report, as they stand in the page."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dgmmis.dataset.checkpoint import Run
from dgmmis.errors import DgmmisError
from dgmmis.read_once import Reader
from dgmmis.report.section import Picture, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dgmmis.plotting.shown import Shown

MOST_FEATURES = 6
"""In a picture."""

PIXELS = 1500
"""Of the wider side of a picture, at most: a sheet of A4 at 180 to the inch."""


def convergence_pictures(run: Run) -> Section:
    """How the fit came to its end, and where its time went."""
    try:
        from dgmmis.plotting import convergence_figure, timeline_figure

        curves, times = convergence_figure(run), timeline_figure(run)
    except DgmmisError as error:
        return Section("The passes", notes=[f"The passes are not drawn: {error}"])
    n = len(run.document.get("history", []))
    alt = f"Curves over {n} passes: objective, gain and distance from the maximum, {run.document.get('status', '')}"
    pictures = [Picture("The passes of the fit, one after the other.", alt, _source(curves))]
    said = "Where the time of each pass went: computing, reading, joining sums and waiting, the driver."
    pictures.append(Picture(said, f"Seconds of {n} passes, and shares of what they went to", _source(times)))
    return Section("The passes", pictures=pictures)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The pictures of a run and its survey, which read the survey along with others.

    Args:
        shown: the run with its survey, or why there is nothing to draw.
        fitted: the run.
    """

    shown: "Shown | str"
    fitted: Run

    def readers(self) -> list[Reader[Picture | str]]:
        """One for each picture: it returns it, or why there is none."""
        if isinstance(self.shown, str):
            return []
        return [_reading(*one) for one in _drawings(self.fitted, self.shown)]

    def section(self, found: Sequence[Picture | str]) -> Section:
        """The model and its survey two features at a time, and what is left over."""
        if isinstance(self.shown, str):
            return Section("Pictures", notes=[self.shown])
        notes, n = [], len(self.fitted.features)
        if self.shown.typical is None:
            notes.append("Without the data the model is drawn alone.")
        if n > MOST_FEATURES:
            notes.append(f"Of {n} features the first {MOST_FEATURES} are drawn.")
        notes += [one for one in found if isinstance(one, str)]
        return Section("Pictures", pictures=[one for one in found if isinstance(one, Picture)], notes=notes)


def _reading(what: str, caption: str, alt: str, drawing: Reader["Figure"]) -> Reader[Picture | str]:
    try:
        figure = yield from drawing
        return Picture(caption, alt, _source(figure))
    except (DgmmisError, ValueError) as error:  # matplotlib's, of a name that it takes for mathematics
        return f"No picture of {what}: {error}"


def _drawings(run: Run, shown: "Shown") -> Iterator[tuple[str, str, str, Reader["Figure"]]]:
    """What is drawn: its name, caption, words for those who cannot see it, and who draws it."""
    from dgmmis.plotting.completeness import completeness_drawing
    from dgmmis.plotting.corner import corner_drawing
    from dgmmis.plotting.marginals import marginals_drawing
    from dgmmis.plotting.residuals import residuals_drawing

    features = run.features[:MOST_FEATURES]
    k, names = run.model.mixture.n_components, ", ".join(features)
    yield (
        "the population",
        "Two features at a time: below the diagonal the data, and the model as the survey sees it; above it the "
        "population, corrected for selection and noise. Ellipses are components.",
        f"Corner plot of {names}, with {k} components as ellipses",
        corner_drawing(shown, features=features),
    )
    if shown.n_rows:
        yield (
            "the marginals",
            "Each feature for itself: objects seen, with Poisson errors, and what the model lets expect; beside it the "
            "population. Bands are one and two standard errors.",
            f"Histograms of {names}, each beside the density of the population",
            marginals_drawing(run, shown, features=features),
        )
    if shown.n_rows and len(run.features) > 1:
        yield (
            "the residuals",
            "Observed minus expected objects, in units of their errors: without pattern if the model holds.",
            f"Residuals in cells of each pair of {names}",
            residuals_drawing(shown, features=features),
        )
    if run.completeness < 1:
        yield (
            "the completeness",
            "What share of the population the survey sees, over two features, against each, and of each component.",
            f"Maps and curves of completeness over {names}",
            completeness_drawing(shown, features=features),
        )


def _source(figure: "Figure") -> str:
    """A figure as a data URI."""
    buffer = io.BytesIO()
    dpi = min(160.0, PIXELS / max(figure.get_size_inches()))
    # no word on when and by what: the same run has the same report
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
