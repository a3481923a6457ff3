"""Drivers of the contestants: each runs in an environment of its own, and speaks `protocol`."""
