"""Recommendation: which of several models is best, and why, in a sentence or two for people."""

from collections.abc import Sequence

from dgmmis.model_selection.criterion import Criterion
from dgmmis.model_selection.entry import Entry

TOLD_APART = 2.0
"""Standard errors of a difference below which it is no difference."""

MOST_NAMED = 4
"""Entries that are left out by name."""


def recommendation(criterion: Criterion, best: Entry, table: Sequence[Entry]) -> str:
    """Which is best, by how much, what smaller one is as good as far as can be told, and what was left out."""
    rivals = [entry for entry in table if entry is not best and not entry.mark and entry.worse is not None]
    rivals.sort(key=lambda entry: entry.worse.value if entry.worse is not None else 0.0)
    following = rivals[0] if rivals else None
    said = [_preferred(criterion, best, following, table)]
    smaller = [entry for entry in rivals if entry.n_parameters < best.n_parameters and is_alike(entry)]
    if smaller:
        least = min(smaller, key=lambda entry: entry.n_parameters)
        amount = "" if least is following else f": worse by {_amount(least, criterion)}"
        numbers = f"{least.n_parameters} parameters instead of {best.n_parameters}"
        said.append(f"{least}, with {numbers}, cannot be told from it{amount}.")
    marked = [entry for entry in table if entry is not best and entry.mark]
    if marked:
        reasons = [f"{entry} ({entry.mark.partition(':')[0]})" for entry in marked[:MOST_NAMED]]
        rest = f" and {len(marked) - MOST_NAMED} more" if len(marked) > MOST_NAMED else ""
        said.append(f"Left out: {', '.join(reasons)}{rest}.")
    return " ".join(said)


def is_alike(entry: Entry) -> bool:
    """Whether an entry is worse than the best by no more than chance."""
    return entry.worse is not None and entry.worse.value <= TOLD_APART * entry.worse.standard_error


def _preferred(criterion: Criterion, best: Entry, following: Entry | None, table: Sequence[Entry]) -> str:
    words = criterion.words[0].upper() + criterion.words[1:]
    if best.mark:
        return f"No fit is sound; among them {criterion.words} is best for {best} ({best.mark})."
    numbers = [entry.n_components for entry in table]
    edge = ", the most that was tried" if best.n_components == max(numbers) > min(numbers) else ""
    first = f"{words} is best for {best}{edge}"
    if following is None:
        return f"{first}: there is no other sound fit."
    return f"{first}; next is {following}, worse by {_amount(following, criterion)}."


def _amount(entry: Entry, criterion: Criterion) -> str:
    assert entry.worse is not None
    value, error = entry.worse.value, entry.worse.standard_error
    unit = " per object" if criterion.is_held_out else ""
    if not error > 0:  # alike object by object, or not known
        return f"{value:.3g}{unit}"
    return f"{value:.3g} +- {error:.2g}{unit} ({value / error:.1f} standard errors)"
