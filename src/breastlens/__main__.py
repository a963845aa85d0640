"""``breastlens`` and ``python -m breastlens``: what happens on signals, also while the packages are still loading."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Load the command line, then run it.

    Ctrl-C ends without a traceback even before there is anything to clean up. A polite request to end (SIGTERM) cleans
    up as an error would.
    """
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from breastlens import cli

    try:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, _end)
        cli.main()
    except KeyboardInterrupt:  # before the command took over, or after it was done
        sys.exit(cli.INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
