"""The table of coverage, and what counts as right in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm
from scipy.stats import t as student

from tests.calibration.coverage import FORMS, KINDS, Judged, Kind

FALSE_ALARM = 0.001
"""How often a table in which everything is right would have a failure anywhere: 99.9 %, two-sided, shared out evenly
over all its numbers (Bonferroni), which holds however they depend on each other."""

SIGMAS = (1, 2)

ALLOWED = 0.01
"""By how much the coverage of all quantities together may be off beyond its error: the normal approximation is one."""


def nominal(form: str, sigmas: int, replicates: int) -> float:
    """The share of intervals, +- so many standard errors, that should hold the truth.

    An error from the scatter over b replicates is itself known to 1 / sqrt(2 b): Student's t of b - 1 degrees.
    """
    law = student(replicates - 1) if form == "bootstrap" else norm()
    return float(1 - 2 * law.sf(sigmas))


@dataclass(frozen=True)
class Coverage:
    """Of one form of errors, +- so many of them.

    Args:
        inside: which intervals hold the truth (n, q).
        share: that should.
    """

    form: str
    sigmas: int
    inside: np.ndarray
    share: float

    @property
    def n(self) -> int:
        return len(self.inside)

    @property
    def of_quantities(self) -> np.ndarray:
        """The share of the surveys that do (q,)."""
        return np.asarray(self.inside.mean(axis=0))

    @property
    def of_all(self) -> tuple[float, float]:
        """The share of all intervals that do, and its error from the scatter between surveys, which are independent.

        A few surveys may happen to be alike: it is no less than if the quantities were independent.
        """
        each = self.inside.mean(axis=1)
        least = np.sqrt(self.share * (1 - self.share) / self.inside.shape[1])
        return float(each.mean()), float(max(each.std(ddof=1), least) / np.sqrt(self.n))

    def bounds(self, alarm: float) -> tuple[float, float]:
        """Of a quantity: the binomial ones, two-sided, exceeded with probability `alarm`."""
        low, high = binom.ppf([alarm / 2, 1 - alarm / 2], self.n, self.share) / self.n
        return float(low), float(high)

    def outside(self, alarm: float) -> np.ndarray:
        """Which quantities are out of bounds (q,)."""
        low, high = self.bounds(alarm)
        return np.asarray((self.of_quantities < low) | (self.of_quantities > high))

    def is_off(self, alarm: float) -> bool:
        """Whether all together are farther from what they should be than their error, and `ALLOWED`, explain."""
        share, error = self.of_all
        return bool(abs(share - self.share) > ALLOWED + student.isf(alarm / 2, self.n - 1) * error)


def coverages(surveys: Sequence[Judged], replicates: int) -> list[Coverage]:
    """Those of each form and width that at least two surveys have."""
    found = []
    for form in FORMS:
        offsets = [survey.offsets[form] for survey in surveys if form in survey.offsets]
        if len(offsets) > 1:
            inside = [np.abs(np.array(offsets)) <= sigmas for sigmas in SIGMAS]
            found += [
                Coverage(form, s, held, nominal(form, s, replicates)) for s, held in zip(SIGMAS, inside, strict=True)
            ]
    return found


def failures(kind: Kind, surveys: Sequence[Judged], alarm: float, replicates: int) -> list[str]:
    """What is out of bounds, each number with a false alarm of its own."""
    missing = sum(bool(survey.trouble) for survey in surveys)
    found = [f"{missing} without errors"] if missing else []
    for coverage in coverages(surveys, replicates):
        what = f"within {coverage.sigmas} ({coverage.form})"
        found += [f"{kind.quantities[q]} {what}" for q in np.flatnonzero(coverage.outside(alarm))]
        found += [f"all together {what}"] if coverage.is_off(alarm) else []
    return found


def n_numbers(done: Mapping[str, Sequence[Judged]], replicates: int) -> int:
    """That are held to bounds."""
    regular = [name for name in done if KINDS[name].regular]
    return sum(len(coverages(done[name], replicates)) * (len(KINDS[name].quantities) + 1) for name in regular)


HEAD = """# Coverage

How many of the intervals, estimate +- 1 and +- 2 standard errors, hold the truth, over simulated surveys with noise,
selection and background; made by `python -m tests.calibration coverage`.

* Fits begin at the truth, so that components keep their order. `line`: one feature, one noise for all; `plane`: two;
  `background and own`: one feature, every object with its own noise. Omega is graded; a quarter is background.
* Errors: `Fit.standard_errors` in the forms "information" and "sandwich" for every survey, and the weighted bootstrap
  with {replicates} replicates for the first ones of each kind. Right are {normal[0]:.2%} and {normal[1]:.2%}; for the
  bootstrap, whose errors are themselves known to {known:.0%}, those of Student's t: {t[0]:.2%} and {t[1]:.2%}.
* N / Z and the density: `Fit.n_objects`, `Fit.density`. Z: the parameters' part by the same slopes, the imputed points'
  error, and, where objects have their own noise, that of who was seen. N / Z is compared with the number of objects
  that were there, Z with the mean of Omega over 2,097,152 others.
* Bounds: binomial and two-sided, with a false alarm of {alarm:.1%} for the whole table, shared out evenly over its
  {n} numbers (each {each:.1e}). All quantities of a kind together may be off by {allowed:.0%} more than the scatter
  between surveys allows at that false alarm. Also counted are the numbers beyond bounds of 95 % of their own, of which
  there should be about one in twenty, fewer since the binomial is discrete.
* `faint` is not held to them: a component of 5 % and a background of 2 % among 1,160 objects, where estimates are not
  meant to be normal.

| kind | errors | surveys | objects | not converged | s a survey | within 1: all, farthest | within 2 | beyond 95 % | \
right |
|---|---|---|---|---|---|---|---|---|---|
"""

MIDDLE = """
Bounds of a quantity:

{bounds}

Beyond bounds of 95 % of their own, chance included:

{beyond}

Every quantity, share of the intervals that hold the truth, in per cent within 1 / within 2:

| kind | quantity | information | sandwich | bootstrap | within bounds |
|---|---|---|---|---|---|
"""


def document(done: Mapping[str, Sequence[Judged]], replicates: int) -> str:
    """Markdown: a line for every kind and form, then a line for every quantity."""
    n = n_numbers(done, replicates)
    alarm = FALSE_ALARM / max(n, 1)
    head = HEAD.format(
        replicates=replicates,
        normal=[nominal("information", s, replicates) for s in SIGMAS],
        t=[nominal("bootstrap", s, replicates) for s in SIGMAS],
        known=1 / np.sqrt(2 * (replicates - 1)),
        alarm=FALSE_ALARM,
        n=n,
        each=alarm,
        allowed=ALLOWED,
    )
    summary = [line for name in done for line in _summary(KINDS[name], done[name], alarm, replicates)]
    details = [line for name in done for line in _details(KINDS[name], done[name], alarm, replicates)]
    every = [coverage for surveys in done.values() for coverage in coverages(surveys, replicates)]
    bounds = dict.fromkeys(_bounds(coverage, alarm) for coverage in every)
    beyond = [f"* {name}: {_beyond(KINDS[name], surveys, replicates)}" for name, surveys in done.items()]
    middle = MIDDLE.format(bounds="\n".join(bounds), beyond="\n".join(beyond))
    return head + "\n".join(summary) + "\n" + middle + "\n".join(details) + "\n"


def _bounds(coverage: Coverage, alarm: float) -> str:
    what = "bootstraps" if coverage.form == "bootstrap" else "surveys"
    low, high = coverage.bounds(alarm)
    return f"* within {coverage.sigmas}, {coverage.n} {what}: {low:.1%} to {high:.1%}"


def _beyond(kind: Kind, surveys: Sequence[Judged], replicates: int) -> str:
    found = [
        f"{kind.quantities[q]} {coverage.of_quantities[q]:.1%} within {coverage.sigmas} ({coverage.form})"
        for coverage in coverages(surveys, replicates)
        for q in np.flatnonzero(coverage.outside(0.05))
    ]
    return "; ".join(found) or "none"


def _summary(kind: Kind, surveys: Sequence[Judged], alarm: float, replicates: int) -> Iterator[str]:
    found, good = coverages(surveys, replicates), [survey for survey in surveys if not survey.trouble]
    wrong = failures(kind, surveys, alarm, replicates)
    for form in FORMS:
        pair = [coverage for coverage in found if coverage.form == form]
        if not pair:
            yield _row(kind.name, form, "0", *["-"] * 7)
            continue
        n_outside = sum(int(coverage.outside(0.05).sum()) for coverage in pair)
        own = [what for what in wrong if form in what or "without errors" in what]
        verdict = "no: " + "; ".join(own) if own else "yes"
        with_it = [survey for survey in good if form in survey.offsets]
        yield _row(
            kind.name,
            form,
            str(pair[0].n),
            f"{np.mean([survey.n_objects for survey in with_it]):.0f}",
            str(sum(not survey.converged for survey in with_it)),
            f"{np.mean([survey.seconds for survey in with_it]):.2f}",
            *(_farthest(kind, coverage) for coverage in pair),
            f"{n_outside} of {sum(coverage.inside.shape[1] for coverage in pair)}",
            verdict if kind.regular else f"not held to it ({len(own)} out of bounds)",
        )


def _farthest(kind: Kind, coverage: Coverage) -> str:
    shares, (share, error) = coverage.of_quantities, coverage.of_all
    q = int(np.argmax(np.abs(shares - coverage.share)))
    return f"{100 * share:.1f} +- {100 * error:.1f}, {100 * shares[q]:.1f} ({kind.quantities[q]})"


def _details(kind: Kind, surveys: Sequence[Judged], alarm: float, replicates: int) -> Iterator[str]:
    found = coverages(surveys, replicates)
    for q, quantity in enumerate(kind.quantities):
        cells = []
        for form in FORMS:
            pair = [100 * coverage.of_quantities[q] for coverage in found if coverage.form == form]
            cells.append(" / ".join(f"{share:.1f}" for share in pair) or "-")
        wrong = [f"within {c.sigmas} ({c.form})" for c in found if c.outside(alarm)[q]]
        yield _row(kind.name, quantity, *cells, ", ".join(wrong) or "yes")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
