"""Where files lie that could be made again: the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "BREASTLENS_CACHE"
"""Environment variable that names another folder."""


def cache_folder() -> Path:
    """The folder for what BreastLens keeps to save time; it may not exist yet.

    It is ``$BREASTLENS_CACHE`` where that is set, and else ``breastlens`` in the user's cache folder of the platform
    (on Linux ``$XDG_CACHE_HOME`` or ``~/.cache``). Whatever lies there may be deleted at any time.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("breastlens", appauthor=False))
