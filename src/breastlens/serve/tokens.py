"""Who may ask: bearer tokens from a file, compared in constant time, and how often each may ask."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from breastlens.errors import DataError

logger = logging.getLogger(__name__)

SHORTEST = 20
"""Letters of a token at least: nobody guesses that many over a network."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Tokens:
    """The tokens of a file by name; only their hashes are kept."""

    def __init__(self, tokens: dict[str, str]) -> None:
        """Take tokens by the name of whom they were given to."""
        self._digests = {name: _digest(token) for name, token in tokens.items()}

    def find(self, token: str) -> str | None:
        """The name that a token was given to, or None. It takes as long whichever it is."""
        given, found = _digest(token), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, given):
                found = name
        return found


def read_tokens(path: Path) -> Tokens:
    """Read a file with a line ``NAME TOKEN`` for each client; empty lines and those from ``#`` on are passed over.

    Raises:
        DataError: It cannot be read, has no token, or a line that is none; the message never holds a token.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"--token-file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from error
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        logger.warning("%s can be read by others on this machine: chmod 600 it", path)
    tokens: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split("#", 1)[0].split()
        if not parts:
            continue
        where = f"--token-file {path}, line {number}"
        if len(parts) != 2 or not _NAME.fullmatch(parts[0]) or not _TOKEN.fullmatch(parts[1]):
            raise DataError(f"{where}: expected NAME TOKEN, of letters, digits and -._~+/")
        name, token = parts
        if len(token) < SHORTEST:
            raise DataError(f"{where}: the token has {len(token)} letters, fewer than {SHORTEST}")
        if name in tokens or token in tokens.values():
            raise DataError(f"{where}: this name or token was given before")
        tokens[name] = token
    if not tokens:
        raise DataError(f"--token-file {path} has no token: write a line NAME TOKEN for each client")
    return Tokens(tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


@dataclass
class _Bucket:
    left: float
    filled_at: float


@dataclass
class RateLimiter:
    """So many requests a minute for each name, and as many at once.

    Attributes:
        a_minute: How many; None for no limit.
        clock: Seconds that only rise.
    """

    a_minute: float | None
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def wait_s(self, name: str) -> float:
        """Count one request; 0 where it may go on, else how many seconds it is too early and not counted."""
        if self.a_minute is None:
            return 0.0
        now, a_second = self.clock(), self.a_minute / 60
        bucket = self._buckets.setdefault(name, _Bucket(self.a_minute, now))
        bucket.left = min(self.a_minute, bucket.left + (now - bucket.filled_at) * a_second)
        bucket.filled_at = now
        if bucket.left >= 1:
            bucket.left -= 1
            return 0.0
        return (1 - bucket.left) / a_second
