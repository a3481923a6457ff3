"""Rows in whatever library they come, and what is said of each of them, in the same."""

from dgmmis.rows.answers import Kind, Question, Questions, answer, answers, total
from dgmmis.rows.known_survey import observing_of, require_survey, under
from dgmmis.rows.measured import Measured, is_labelled

__all__ = [
    "Kind",
    "Measured",
    "Question",
    "Questions",
    "answer",
    "answers",
    "is_labelled",
    "observing_of",
    "require_survey",
    "total",
    "under",
]
