"""Keeps OpenCV's complaints about damaged files off the terminal; BreastLens says itself what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

_lock = threading.Lock()
_inside = 0
_level_before = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Turn OpenCV's log off while any thread is inside, back to the caller's level when the last leaves."""
    global _inside, _level_before
    log = cv2.utils.logging
    with _lock:
        if _inside == 0:
            _level_before = log.getLogLevel()
            log.setLogLevel(log.LOG_LEVEL_SILENT)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                log.setLogLevel(_level_before)
