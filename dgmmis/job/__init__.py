"""Job files: what to fit, to what, where, in TOML."""

from dgmmis.job.job import Job, constraints_of, parse_job, read_job, stopping_of
from dgmmis.tables import selection_from_table, selection_to_table

__all__ = [
    "Job",
    "constraints_of",
    "parse_job",
    "read_job",
    "selection_from_table",
    "selection_to_table",
    "stopping_of",
]
