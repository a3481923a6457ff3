"""Calibration of the standard errors, by simulation."""
