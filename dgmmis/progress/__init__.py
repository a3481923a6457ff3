"""What goes on, shown to whoever waits: on a terminal, in lines, or in a notebook."""

from dgmmis.progress.progress import Progress

__all__ = ["Progress"]
