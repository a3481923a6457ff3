"""Reprocessing: a survey that grows, and the published model that follows it."""

from dgmmis.reprocess.flow import Report, reprocess
from dgmmis.reprocess.gate import Finding

__all__ = ["Finding", "Report", "reprocess"]
