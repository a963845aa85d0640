"""Who may ask: token files, and how often."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from breastlens.errors import DataError
from breastlens.serve.tokens import RateLimiter, read_tokens

LONG = "a-token-of-twenty-letters"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_each_token_is_found_by_its_name_and_no_other(tmp_path: Path) -> None:
    tokens = read_tokens(write(tmp_path / "t", f"# who\nlab {LONG}\n\nclinic {LONG}2  # the second\n"))
    assert tokens.find(LONG) == "lab"
    assert tokens.find(f"{LONG}2") == "clinic"
    for wrong in ("", LONG[:-1], f"{LONG}3", f" {LONG}", "lab", "\udcff"):
        assert tokens.find(wrong) is None
    assert LONG not in repr(vars(tokens))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no token"),
        ("# nothing\n", "has no token"),
        (f"{LONG}\n", "line 1: expected NAME TOKEN"),
        (f"lab {LONG} more\n", "line 1: expected NAME TOKEN"),
        (f"a b\nlab {LONG}", "line 1: the token has 1 letters"),
        (f"lab {LONG}\nlab {LONG}2", "line 2: this name or token was given before"),
        (f"lab {LONG}\nclinic {LONG}", "line 2: this name or token was given before"),
        (f"lab ä{LONG}", "line 1: expected NAME TOKEN"),
    ],
)
def test_a_file_that_says_something_else_is_refused_without_quoting_tokens(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(DataError, match=words) as refused:
        read_tokens(write(tmp_path / "t", text))
    assert LONG not in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_tokens(tmp_path / "none")
    (tmp_path / "t").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="it is no text"):
        read_tokens(tmp_path / "t")


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "t", f"lab {LONG}")
    with caplog.at_level(logging.WARNING):
        read_tokens(path)
        assert not caplog.records
        path.chmod(0o644)
        read_tokens(path)
    assert "chmod 600" in caplog.text


def test_so_many_a_minute_go_through_for_each_name() -> None:
    now = 0.0
    limiter = RateLimiter(60, clock=lambda: now)
    assert [limiter.wait_s("a") for _ in range(60)] == [0] * 60
    assert limiter.wait_s("a") == pytest.approx(1)
    assert limiter.wait_s("b") == 0
    now = 0.5
    assert limiter.wait_s("a") == pytest.approx(0.5)
    now = 1.0
    assert limiter.wait_s("a") == 0
    assert limiter.wait_s("a") == pytest.approx(1)
    now = 1e6
    assert sum(limiter.wait_s("a") == 0 for _ in range(100)) == 60, "what was not used does not pile up"
    assert not any(RateLimiter(None).wait_s("a") for _ in range(1000))
