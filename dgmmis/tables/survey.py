"""Surveys as two tables: `selection`, with what it acts on beside its kind, and `noise`, the law of the unseen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgmmis.errors import JobError, nearest_name
from dgmmis.survey import Survey
from dgmmis.tables.noise_law import noise_law_from_table, noise_law_to_table
from dgmmis.tables.selection import KINDS, selection_from_table, selection_to_table

OBSERVED = "observed"
"""What a selection acts on where its table does not say."""


def survey_from_tables(selection: Any, noise: Any, *, folder: Path | None = None, allow_code: bool = False) -> Survey:
    """The survey that two tables describe.

    Args:
        selection: one kind and its value, and `on` if it does not act on observed values; None: everything was seen.
        noise: of a noise law; None: that which the data imply.
        folder: what the selection's paths of files are relative to; None: where the program runs.
        allow_code: whether a table may name a function to import and call.

    Raises:
        JobError: a table that is wrong, or a function that is not allowed.
        RefusedError: a selection and what it acts on that do not go together.
    """
    on: Any = OBSERVED
    if isinstance(selection, Mapping):
        on = selection.get("on", OBSERVED)
        selection = {key: value for key, value in selection.items() if key != "on"}
        unknown = [key for key in selection if key not in KINDS]
        if unknown and len(selection) > 1:
            raise JobError(f"[selection] has no key '{unknown[0]}'", do=nearest_name(unknown[0], ("on", *KINDS)))
    if not isinstance(on, str):
        raise JobError("selection `on` has the wrong type", expected="a word", got=on)
    omega = None if selection is None else selection_from_table(selection, folder=folder, allow_code=allow_code)
    law = None if noise is None else noise_law_from_table(noise, allow_code=allow_code)
    return Survey(omega, law, on)


def survey_to_tables(survey: Survey) -> dict[str, dict[str, Any]]:
    """The tables `selection` and `noise` of a survey, those that it needs.

    Raises:
        RefusedError: functions without a path, or arrays that are too long for a table.
    """
    tables = {}
    if survey.selection is not None:
        tables["selection"] = selection_to_table(survey.selection)
        if survey.selection_on != OBSERVED:
            tables["selection"]["on"] = survey.selection_on
    if survey.noise_law is not None:
        tables["noise"] = noise_law_to_table(survey.noise_law)
    return tables
