"""What all the examples are asked with: a picture to draw, and a number that a test makes smaller."""

import argparse
from pathlib import Path


def asked(doc: str | None, *, count: str = "objects", default: int) -> tuple[Path | None, int]:
    """The picture's path, or None, and how many there are to be: `[PICTURE] [--objects N]`."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("picture", nargs="?", type=Path, help="where to draw it; none: words only")
    parser.add_argument(f"--{count}", type=int, default=default, help=f"how many {count}; {default:,} if left out")
    given = parser.parse_args()
    return given.picture, getattr(given, count)
