"""How much memory a process has taken at most, for scripts that measure what a call adds to it."""

PEAK = """
import re
from pathlib import Path
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
"""
"""The beginning of a script: peak() is in MiB."""
