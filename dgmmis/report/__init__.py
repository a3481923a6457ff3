"""A report of a run, as one HTML file that needs nothing else: what was fitted, and whether it fits."""

from dgmmis.report.writing import report_page, write_report

__all__ = ["report_page", "write_report"]
