"""Commands about what is kept on disk to save time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from breastlens.cache_folder import cache_folder
from breastlens.cli.options import AsJson
from breastlens.errors import BreastLensError

if TYPE_CHECKING:
    from breastlens.models.feature_cache import CacheUse

cache = typer.Typer(
    name="cache", help="What is kept on disk to save time.", no_args_is_help=True, rich_markup_mode=None
)


@cache.command()
def info(as_json: AsJson = False) -> None:
    """Tell where the cache lies and what it holds."""
    from breastlens.models.compiled_cache import compiled_size
    from breastlens.models.feature_cache import FeatureCache

    _tell(FeatureCache().use(), compiled_size(), as_json=as_json)


@cache.command()
def clear(as_json: AsJson = False) -> None:
    """Remove everything from the cache; whatever is wanted again is computed again."""
    from breastlens.models.compiled_cache import clear_compiled, compiled_size
    from breastlens.models.feature_cache import FeatureCache
    from breastlens.training.precision import forget_measured

    forget_measured()
    features = FeatureCache()
    _tell(features.clear(), clear_compiled(), as_json=as_json, what="removed: ")
    left = features.use().size_bytes + compiled_size()
    if left > 0:
        raise BreastLensError(
            f"{cache_folder()}: {_size(left)} could not be removed; they belong to another user or are in use"
        )


def _tell(features: CacheUse, compiled_bytes: int, *, as_json: bool, what: str = "") -> None:
    folder = cache_folder()
    if as_json:
        counts = {"rows": features.rows, "networks": features.networks, "feature_bytes": features.size_bytes}
        print(json.dumps({"folder": str(folder), **counts, "compiled_bytes": compiled_bytes}))
        return
    networks = "1 network" if features.networks == 1 else f"{features.networks} networks"
    rows = f"{features.rows} rows of features of {networks} ({_size(features.size_bytes)})"
    print(f"{folder}: {what}{rows}, compiled networks ({_size(compiled_bytes)})")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
