"""The machine that a process runs on, as far as it decides how fast or how exactly numbers come out."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Processor cores that this process may use; ``taskset`` may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
