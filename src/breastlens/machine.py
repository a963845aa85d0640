"""The machine that a process runs on, as far as it decides how fast or how exactly numbers come out."""

from __future__ import annotations

import os

_allowed: int | None = None


def usable_cores() -> int:
    """Processor cores that this process may use.

    ``taskset`` may allow fewer than there are, and a process that works beside others of its kind has its share.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return there if _allowed is None else min(_allowed, there)


def settle_for_cores(count: int) -> None:
    """Let this process use no more than so many cores from now on, whatever engine computes.

    TensorFlow reads it when it is first imported; call this before.

    Args:
        count: 1 or more.
    """
    from threadpoolctl import threadpool_limits

    global _allowed
    _allowed = count
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(count)
    threadpool_limits(count)
