"""Tables: surveys and backgrounds as plain mappings of numbers, words and lists, in job files, runs and truths."""

from dgmmis.tables.background import background_from_table, background_to_table
from dgmmis.tables.noise_law import noise_law_from_table, noise_law_to_table
from dgmmis.tables.selection import selection_from_table, selection_to_table
from dgmmis.tables.survey import survey_from_tables, survey_to_tables

__all__ = [
    "background_from_table",
    "background_to_table",
    "noise_law_from_table",
    "noise_law_to_table",
    "selection_from_table",
    "selection_to_table",
    "survey_from_tables",
    "survey_to_tables",
]
