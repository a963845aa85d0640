"""Bars on a terminal, plain lines elsewhere, nothing when quiet: what each writes, caught."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from breastlens.cli import show
from breastlens.cli.show import PlainProgress, TerminalProgress, choose_progress, print_table
from breastlens.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time in seconds, in a list, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr(show.time, "perf_counter", lambda: now[0])
    return now


def plain() -> tuple[PlainProgress, io.StringIO]:
    stream = io.StringIO()
    return PlainProgress(Console(file=stream, width=40, emoji=False)), stream


def test_plain_lines_come_now_and_then_and_at_the_end(clock: list[float]) -> None:
    progress, stream = plain()
    with progress.task("train", 100) as advance:
        for done in range(1, 51):
            clock[0] += 1.0
            advance(done, loss=0.5, val_auc=0.75)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "train: 15 of 100, about 85 s left  loss 0.500  val auc 0.750",
        "train: 30 of 100, about 70 s left  loss 0.500  val auc 0.750",
        "train: 45 of 100, about 55 s left  loss 0.500  val auc 0.750",
        "train: 50 done in 50.0 s  loss 0.500  val auc 0.750",
    ]


def test_a_total_may_become_known_later(clock: list[float]) -> None:
    progress, stream = plain()
    with progress.task("read files") as advance:
        clock[0] += 20
        advance(1)
        clock[0] += 20
        advance(2, total=4)
    assert stream.getvalue().splitlines() == [
        "read files: 2 of 4, about 40 s left",
        "read files: 2 done in 40.0 s",
    ]


def test_plain_lines_have_no_control_codes_and_change_no_text() -> None:
    progress, stream = plain()
    path = "/data/[bold]:smile:/" + "long/" * 20
    progress.say(path)
    with progress.task("[red]x") as advance:
        advance(1)
    assert stream.getvalue().splitlines()[0] == path
    assert "[red]x: 1 done" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("kind", [PlainProgress, TerminalProgress])
def test_work_that_fails_is_not_told_as_done(kind: type[PlainProgress]) -> None:
    stream = io.StringIO()
    progress = kind(Console(file=stream, force_terminal=kind is TerminalProgress, width=100))

    def interrupted() -> None:
        with progress.task("train", 10) as advance:
            advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "done in" not in stream.getvalue()


def test_a_terminal_sees_a_bar_with_figures_and_keeps_one_line() -> None:
    stream = io.StringIO()
    progress = TerminalProgress(Console(file=stream, force_terminal=True, width=120, emoji=False))
    with progress.task("finetune", 8) as advance:
        advance(8, loss=0.25, auc=0.875)
        progress.say("a fact of [bold]its own")
    written = stream.getvalue()
    assert "8/8" in written
    assert "━" in written
    assert "loss 0.250  auc 0.875" in written
    assert "a fact of [bold]its own\n" in written
    assert "finetune: 8 done in 0." in written.splitlines()[-1]


def test_a_bar_learns_its_total() -> None:
    stream = io.StringIO()
    progress = TerminalProgress(Console(file=stream, force_terminal=True, width=120))
    with progress.task("read files") as advance:
        advance(2, total=7)
    assert "2/7" in stream.getvalue()


def test_who_gets_what(monkeypatch: pytest.MonkeyPatch) -> None:
    level = logging.getLogger().level
    monkeypatch.setattr(show, "ERRORS", Console(file=io.StringIO(), force_terminal=True))
    assert type(choose_progress(quiet=False)) is TerminalProgress
    monkeypatch.setattr(show, "ERRORS", Console(file=io.StringIO()))
    assert type(choose_progress(quiet=False)) is PlainProgress
    assert logging.getLogger().level == level
    try:
        assert type(choose_progress(quiet=True)) is Progress
        assert logging.getLogger().level == logging.ERROR
    finally:
        logging.getLogger().setLevel(level)


def test_the_silent_default_takes_the_same_calls() -> None:
    progress = Progress()
    progress.say("nothing")
    with progress.task("work", 3) as advance:
        advance(1, total=4, loss=0.1)


def test_tables_take_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    print_table(pd.DataFrame({"file_name": ["[bold]a.png", ":smile:"], "images": [1234, 5]}))
    written = capsys.readouterr().out
    assert "file name" in written
    assert "[bold]a.png" in written
    assert ":smile:" in written
    assert "1,234" in written
