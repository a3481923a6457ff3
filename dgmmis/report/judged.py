"""Goodness of fit, as sections: what fails first, every test after it."""

from collections.abc import Iterator

from dgmmis.goodness import GoodnessOfFit
from dgmmis.report.section import Bars, Section, Table

TESTS = {
    "smooth": "smooth",
    "chi2": "chi² of cells",
    "cell": "the worst cell",
    "possible": "zero selection",
}


def goodness_section(found: GoodnessOfFit | None, why_not: str) -> Section:
    """Flags, histograms of the transforms, a line for each test, and the worst cells."""
    if found is None:
        return Section("Goodness of fit", notes=[why_not])
    n, flagged = len(found.verdicts), len(found.flags)
    lead = f"{flagged} of {n} tests flagged. Of a true model any is, at most, in {100 * found.level:g} % of surveys; "
    lead += "one that was fitted to these objects is flagged less often."
    rows = [
        (
            verdict.about,
            TESTS[verdict.test],
            f"{verdict.statistic:.4g}",
            f"{verdict.p_value:.2g}",
            f"{verdict.corrected:.2g}",
            ("FAILS: " if verdict.is_flagged else "") + verdict.words,
        )
        for verdict in found.verdicts
    ]
    marked = [i for i, verdict in enumerate(found.verdicts) if verdict.is_flagged]
    tables = [Table("Tests", ("of", "test", "statistic", "p", "p of all", "verdict"), rows, marked)]
    cells = [
        (cell.place, f"{cell.observed:,.6g}", f"{cell.expected:,.1f}", f"{cell.error:,.1f}", f"{cell.corrected:.2g}")
        for cell in found.worst
    ]
    if cells:
        head = ("cell", "observed", "expected", "error", "p of all")
        tables.append(Table("The cells that differ most", head, cells))
    notes = [f"{found.sums.ranked:,} of {found.n_rows:,} objects were ranked among others drawn in their places."]
    if found.sums.lost:
        notes.append(f"Of {found.sums.lost:,} the survey sees next to nothing of the like: they were not ranked.")
    return Section("Goodness of fit", lead, flags=found.flags, bars=[*_bars(found)], tables=tables, notes=notes)


def _bars(found: GoodnessOfFit) -> Iterator[Bars]:
    flags = {verdict.about: verdict for verdict in found.verdicts if verdict.test == "smooth"}
    for name, of in zip((*found.names, "density"), (*found.sums.transforms, found.sums.density), strict=True):
        if of.weight <= 0 or name not in flags:
            continue
        pairs = of.histogram.reshape(-1, 2).sum(axis=1)  # as many bars as can be told apart
        heights = pairs * len(pairs) / of.weight
        verdict = flags[name]
        alt = f"Histogram, even if the model holds: from {heights.min():.2f} to {heights.max():.2f} of what "
        yield Bars(name, f"{alt}is expected. {verdict.words}", heights.tolist(), verdict.is_flagged)
