"""The one door to OpenVINO, which would otherwise report its use to its maker."""

from __future__ import annotations

import sys
from typing import Any


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry off.

    As shipped, ``import openvino`` makes a client id in the home folder and sends events to Google Analytics unless
    the user has opted out. Software for medical images must not call anyone, so the sender is hidden, and OpenVINO
    takes the silent stand-in that it brings along. This holds for this process alone; nothing is written.

    Returns:
        The ``openvino`` module.
    """
    # Python reads None here as "not installed"; a sender that the caller's own code has loaded is left as it is
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
