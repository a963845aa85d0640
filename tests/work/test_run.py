"""Units are done once, wherever that is, and a result that was lost is made again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breastlens import whole_files
from breastlens.errors import DataError, WorkerError
from breastlens.work.places import choose_place
from breastlens.work.processes import Processes
from breastlens.work.run import Here, Place, run_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit, content_key


def count(folder: Path, number: int) -> int:
    """Leave a trace each time it is done."""
    with (folder / f"done-{number}").open("a") as trace:
        trace.write("x")
    return number * number


def refuse(number: int) -> int:
    raise DataError(f"{number} is not possible")


def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def counting(folder: Path, numbers: range) -> list[Unit]:
    return [Unit(f"square of {n}", content_key("count", n), count, (folder, n)) for n in numbers]


def done(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("done-*")}


@pytest.fixture(params=["here", "processes:2"])
def place(request: pytest.FixtureRequest) -> Place:
    return choose_place(request.param)


def test_results_come_in_the_order_of_the_units_and_nothing_is_done_twice(
    tmp_path: Path, place: Place
) -> None:
    store = UnitStore(tmp_path / "units", ())
    units = counting(tmp_path, range(5))
    assert run_units(units[:3], store, place) == [0, 1, 4]
    assert run_units([*reversed(units), units[4]], store, place) == [16, 9, 4, 1, 0, 16]
    assert done(tmp_path) == {f"done-{n}": "x" for n in range(5)}


def test_a_unit_that_failed_says_why_and_is_tried_again_alone(tmp_path: Path, place: Place) -> None:
    store = UnitStore(tmp_path / "units", ())
    bad = Unit("the bad one", content_key("bad"), refuse, (7,))
    before, after = counting(tmp_path, range(2))
    with pytest.raises(DataError, match="7 is not possible"):
        run_units([before, bad, after], store, place)
    (told,) = (tmp_path / "units").glob("*.failed.json")
    assert json.loads(told.read_text()) == {
        "unit": "the bad one",
        "error": "DataError",
        "reason": "7 is not possible",
    }
    mended = Unit("the bad one", bad.key, count, (tmp_path, 7))
    assert run_units([before, mended, after], store, place) == [0, 49, 1]
    assert set(done(tmp_path).values()) == {"x"}
    assert not list((tmp_path / "units").glob("*.failed.json"))


def test_a_process_that_is_killed_is_told_in_words(tmp_path: Path) -> None:
    unit = Unit("the last one", content_key("die"), die, ())
    with pytest.raises(WorkerError, match="a worker process was killed"):
        run_units([unit], UnitStore(tmp_path, ()), Processes(1))


def test_a_damaged_result_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, units = UnitStore(tmp_path / "units", ()), counting(tmp_path, range(1))
    run_units(units, store, Here())
    (path,) = (tmp_path / "units").glob("*.npz")
    path.write_bytes(path.read_bytes()[:50])
    assert run_units(units, store, Here()) == [0]
    assert done(tmp_path) == {"done-0": "xx"}
    assert "the result of square of 0 is not used, and made again" in caplog.text


def test_what_a_unit_had_kept_goes_with_its_result(tmp_path: Path) -> None:
    store, (unit,) = UnitStore(tmp_path / "units", ()), counting(tmp_path, range(1))
    kept = store.checkpoints(unit.key) / "first" / "epoch-00000"
    kept.mkdir(parents=True)
    run_units([unit], store, Here())
    assert not store.checkpoints(unit.key).exists()


@pytest.mark.parametrize("step", ["file begun", "part written", "file synced", "file renamed"])
def test_a_result_is_whole_or_absent_wherever_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A child that dies at each step of a write; what it leaves is read here."""
    store, (unit,) = UnitStore(tmp_path / "units", ()), counting(tmp_path, range(1))

    def end_there(reached: str) -> None:
        if reached == step:
            os._exit(9)

    child = os.fork()
    if child == 0:
        whole_files.reached = end_there
        run_units([unit], store, Here())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert store.read(unit) == (0 if step == "file renamed" else None)
    assert run_units([unit], store, Here()) == [0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(4), np.zeros(4, np.float32)),
        (np.zeros((2, 2)), np.zeros(4)),
        (b"1", 1),
        ({"a": 1}, {"a": 1.5}),
    ],
)
def test_keys_differ_where_content_does(one: Any, other: Any) -> None:
    assert content_key(one) != content_key(other)
    assert content_key(one, other) != content_key(other, one)
    assert content_key(one) == content_key(one)


def test_keys_do_not_run_together() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key([]) != content_key()


@pytest.mark.parametrize("name", ["there", "processes:0", "processes:two", "here:2", ""])
def test_a_place_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="--on takes here"):
        choose_place(name)
