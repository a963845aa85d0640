"""Ctrl-C during work that may be gone on with: it ends soon, whatever the process is in the middle of."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from breastlens.cli.show import ERRORS

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""

PATIENCE_S = 4.0
"""How long a step may take until it is left where it is."""


@contextmanager
def ends_soon(how_to_go_on: str) -> Iterator[None]:
    """End the process within ``PATIENCE_S`` of Ctrl-C, and at once on the second.

    Python sees a signal only between two of its own steps, and one step of a network may take longer than anybody
    waits. So a thread watches, and ends the process where it is. What lies on the disk is whole at any moment.

    Args:
        how_to_go_on: What to tell then.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        yield
        return
    watched, told = socket.socketpair()
    told.setblocking(False)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(watched, how_to_go_on), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        thread.join()
        watched.close()


def _watch(watched: socket.socket, how_to_go_on: str) -> None:
    while (number := watched.recv(1)) != bytes([signal.SIGINT]):
        if not number:
            return
    ERRORS.print("Stopping; Ctrl-C again ends at once.", highlight=False)
    watched.settimeout(PATIENCE_S)
    try:
        while (number := watched.recv(1)) != bytes([signal.SIGINT]):
            if not number:
                return
    except TimeoutError:
        pass
    ERRORS.print(f"Interrupted: {how_to_go_on}", markup=False, highlight=False, soft_wrap=True)
    os._exit(INTERRUPTED)
