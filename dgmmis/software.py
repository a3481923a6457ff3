"""What did the work: versions of the packages that decide the bits, and the machine."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("dgmmis", "numpy", "scipy", "numba", "llvmlite", "zarr", "dask", "distributed")


def software() -> dict[str, str]:
    """Versions by name."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
