"""Peak memory of processes. `ru_maxrss` would also count what the parent had before the child was started."""

from pathlib import Path
from typing import Any

import psutil


def peak_bytes() -> int:
    """Of this process: its high-water mark of resident memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def peaks_of(executor: Any) -> dict[str, int]:
    """Of this process, and of the workers of an executor on a cluster."""
    client = getattr(executor, "client", None)
    if client is None:
        return {"process": peak_bytes()}
    workers = client.run(peak_bytes)
    named = {f"worker {number}": workers[address] for number, address in enumerate(sorted(workers))}
    return {"driver and scheduler": peak_bytes(), **named}
