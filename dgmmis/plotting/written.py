"""Writing a picture to a file."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from dgmmis.dataset.disk import writing
from dgmmis.dataset.publish import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a picture to a file, in the place of the one that is there; its name says of what kind: png, pdf, svg.

    Raises:
        StoreError: the disk refuses.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:])
    with writing(f"'{path}'"):
        replace_file(path, buffer.getvalue())
