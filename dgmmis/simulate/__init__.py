"""Surveys with a known truth."""

from dgmmis.simulate.catalogue import simulate, true_model, true_survey
from dgmmis.simulate.completeness import completeness
from dgmmis.simulate.job_text import job_path
from dgmmis.simulate.preset import PRESETS, Preset, find_preset

__all__ = ["PRESETS", "Preset", "completeness", "find_preset", "job_path", "simulate", "true_model", "true_survey"]
