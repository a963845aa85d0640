"""Commands about what is kept on disk to save time."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from breastlens.cli.options import AsJson

if TYPE_CHECKING:
    from breastlens.models.feature_cache import CacheUse

cache = typer.Typer(
    name="cache", help="What is kept on disk to save time.", no_args_is_help=True, rich_markup_mode=None
)


@cache.command()
def info(as_json: AsJson = False) -> None:
    """Tell where the cache lies and what it holds."""
    from breastlens.models.feature_cache import FeatureCache

    used = FeatureCache().use()
    if as_json:
        print(json.dumps(asdict(used) | {"folder": str(used.folder)}))
    else:
        print(f"{used.folder}: {_describe(used)}")


@cache.command()
def clear(as_json: AsJson = False) -> None:
    """Remove everything from the cache; whatever is wanted again is computed again."""
    from breastlens.models.feature_cache import FeatureCache

    removed = FeatureCache().clear()
    if as_json:
        print(json.dumps(asdict(removed) | {"folder": str(removed.folder)}))
    else:
        print(f"{removed.folder}: {_size(removed.size_bytes)} removed")


def _describe(used: CacheUse) -> str:
    if not used.rows:
        return "nothing yet"
    networks = "1 network" if used.networks == 1 else f"{used.networks} networks"
    return f"{used.rows} rows of features of {networks}, {_size(used.size_bytes)}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
