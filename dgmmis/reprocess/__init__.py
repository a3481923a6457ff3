"""Reprocessing: a survey that grows, and the published model that follows it."""

from dgmmis.reprocess.flow import reprocess
from dgmmis.reprocess.gate import Finding
from dgmmis.reprocess.report import Report

__all__ = ["Finding", "Report", "reprocess"]
