"""The program: `dgmmis --help` lists the commands.

Heavy libraries are imported in the commands that need them, so that `dgmmis --help` is quick.
"""

from dgmmis.cli import described, fits, goodness, monitoring, pictures, published, runs, selecting, streams, surveys
from dgmmis.cli.program import main, program

__all__ = [
    "described",
    "fits",
    "goodness",
    "main",
    "monitoring",
    "pictures",
    "program",
    "published",
    "runs",
    "selecting",
    "streams",
    "surveys",
]
