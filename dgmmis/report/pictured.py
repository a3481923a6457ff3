"""The pictures of a report, as they stand in the page."""

import base64
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dgmmis.dataset.checkpoint import Run
from dgmmis.errors import DgmmisError
from dgmmis.report.section import Picture, Section
from dgmmis.report.subject import Subject
from dgmmis.survey import Survey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def survey_pictures(
    subject: Subject, run: Run, survey: Survey | None, *, on_rows: Callable[[str], Callable[[int, int | None], None]]
) -> Section:
    """The model and its survey two features at a time, and what is left over."""
    pictures, notes = [], []
    if survey is None:
        why = "The survey of the run is not known" if subject.is_finished else "The fit is not finished"
        return Section("Pictures", notes=[f"{why}: nothing of the survey is drawn."])
    if subject.data is None:
        notes.append("Without the data the model is drawn alone.")
    features = run.features[:MOST_FEATURES]
    if len(run.features) > MOST_FEATURES:
        notes.append(f"Of {len(run.features)} features the first {MOST_FEATURES} are drawn.")
    for what, caption, alt, draw in _drawings(subject, run, survey):
        try:
            drawn = draw(features=features, on_rows=on_rows(what))
            pictures.append(Picture(caption, alt, _source(drawn)))
        except (DgmmisError, ValueError) as error:  # matplotlib's, of a name that it takes for mathematics
            notes.append(f"No picture of {what}: {error}")
    return Section("Pictures", pictures=pictures, notes=notes)


def _drawings(subject: Subject, run: Run, survey: Survey) -> Iterator[tuple[str, str, str, Callable[..., "Figure"]]]:
    """What is drawn: its name, caption, words for those who cannot see it, and how."""
    from dgmmis import plotting

    k, names, data = run.model.mixture.n_components, ", ".join(run.features[:MOST_FEATURES]), subject.data

    def with_data(draw: Callable[..., "Figure"]) -> Callable[..., "Figure"]:
        def drawing(**options: Any) -> "Figure":
            return draw(run, data, survey=survey, **options)

        return drawing

    yield (
        "the population",
        "Two features at a time: below the diagonal the data, and the model as the survey sees it; above it the "
        "population, corrected for selection and noise. Ellipses are components.",
        f"Corner plot of {names}, with {k} components as ellipses",
        with_data(plotting.corner_figure),
    )
    if data is not None:
        yield (
            "the marginals",
            "Each feature for itself: objects seen, with Poisson errors, and what the model lets expect; beside it the "
            "population. Bands are one and two standard errors.",
            f"Histograms of {names}, each beside the density of the population",
            with_data(plotting.marginals_figure),
        )
    if data is not None and len(run.features) > 1:
        yield (
            "the residuals",
            "Observed minus expected objects, in units of their errors: without pattern if the model holds.",
            f"Residuals in cells of each pair of {names}",
            with_data(plotting.residuals_figure),
        )
    if run.completeness < 1:
        yield (
            "the completeness",
            "What share of the population the survey sees, over two features, against each, and of each component.",
            f"Maps and curves of completeness over {names}",
            lambda features, on_rows: plotting.completeness_figure(run, data, survey=survey, features=features),
        )


def _source(figure: "Figure") -> str:
    """A figure as a data URI."""
    buffer = io.BytesIO()
    dpi = min(160.0, PIXELS / max(figure.get_size_inches()))
    # no word on when and by what: the same run has the same report
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
