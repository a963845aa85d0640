"""Units are done once, wherever that is, and a result that was lost is made again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breastlens import whole_files
from breastlens.errors import DataError, WorkerError
from breastlens.work.places import choose_place
from breastlens.work.processes import Processes
from breastlens.work.run import Here, Place, run_units, stream_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit, content_key

DoAll = Callable[..., list[Any]]


def count(folder: Path, number: int) -> int:
    """Leave a trace each time it is done."""
    with (folder / f"done-{number}").open("a") as trace:
        trace.write("x")
    return number * number


def refuse(number: int) -> int:
    raise DataError(f"{number} is not possible")


def die(folder: Path) -> int:
    with (folder / "deaths").open("a") as trace:
        trace.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def die_once(folder: Path) -> int:
    return 7 if (folder / "deaths").exists() else die(folder)


def give_what_cannot_travel() -> object:
    return lambda: None


def report_pid(folder: Path) -> None:
    """Tell who this is, and take as long as it takes."""
    (folder / "pid").write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


def counting(folder: Path, numbers: range) -> list[Unit]:
    return [Unit(f"square of {n}", content_key("count", n), count, (folder, n)) for n in numbers]


def done(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("done-*")}


@pytest.fixture(params=["here", "processes:2"])
def place(request: pytest.FixtureRequest) -> Place:
    return choose_place(request.param)


def test_results_come_in_the_order_of_the_units_and_nothing_is_done_twice(
    do_all: DoAll, tmp_path: Path, place: Place
) -> None:
    store = UnitStore(tmp_path / "units", ())
    units = counting(tmp_path, range(5))
    assert do_all(units[:3], store, place) == [0, 1, 4]
    assert do_all([*reversed(units), units[4]], store, place) == [16, 9, 4, 1, 0, 16]
    assert done(tmp_path) == {f"done-{n}": "x" for n in range(5)}


def test_a_unit_that_failed_says_why_and_is_tried_again_alone(
    do_all: DoAll, tmp_path: Path, place: Place
) -> None:
    store = UnitStore(tmp_path / "units", ())
    bad = Unit("the bad one", content_key("bad"), refuse, (7,))
    before, after = counting(tmp_path, range(2))
    with pytest.raises(DataError, match="7 is not possible"):
        do_all([before, bad, after], store, place)
    assert done(tmp_path).keys() == {"done-0", "done-1"}
    (told,) = (tmp_path / "units").glob("*.failed.json")
    assert json.loads(told.read_text()) == {
        "unit": "the bad one",
        "error": "DataError",
        "reason": "7 is not possible",
    }
    mended = Unit("the bad one", bad.key, count, (tmp_path, 7))
    assert do_all([before, mended, after], store, place) == [0, 49, 1]
    assert set(done(tmp_path).values()) == {"x"}
    assert not list((tmp_path / "units").glob("*.failed.json"))


def test_what_a_killed_process_had_begun_is_done_again(do_all: DoAll, tmp_path: Path) -> None:
    units = [Unit("dies once", content_key("once"), die_once, (tmp_path,)), *counting(tmp_path, range(4))]
    assert do_all(units, UnitStore(tmp_path / "units", ()), Processes(2)) == [7, 0, 1, 4, 9]
    assert (tmp_path / "deaths").read_text() == "x"


def test_a_unit_that_kills_processes_is_set_aside_and_all_others_are_done(tmp_path: Path) -> None:
    units = [*counting(tmp_path, range(9))]
    units.insert(3, Unit("the bad one", content_key("die"), die, (tmp_path,)))
    ended = list(stream_units(iter(units), UnitStore(tmp_path / "units", ()), Processes(2)))
    assert sorted(unit.key for unit, _ in ended) == sorted(unit.key for unit in units)
    failed = {unit.title: failure for unit, failure in ended if failure is not None}
    assert failed.keys() == {"the bad one"}
    assert isinstance(failed["the bad one"].error, WorkerError)
    assert "3 processes were killed while they did it" in str(failed["the bad one"].error)


def test_a_result_that_cannot_travel_is_told_as_it_is(do_all: DoAll, tmp_path: Path) -> None:
    unit = Unit("a function", content_key("function"), give_what_cannot_travel, ())
    with pytest.raises(Exception, match=r"[Pp]ickle"):
        do_all([unit], UnitStore(tmp_path, ()), Processes(1))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the system does not show its processes")
def test_no_process_outlives_the_one_it_works_for(tmp_path: Path) -> None:
    begin = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from test_run import *\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    unit = Unit('long', content_key('long'), report_pid, (folder,))\n"
        "    run_units([unit], UnitStore(folder / 'units', ()), Processes(1), print)\n"
    )
    script = tmp_path / "begin.py"
    script.write_text(begin)
    driver = subprocess.Popen([sys.executable, script, tmp_path, Path(__file__).parent])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert driver.poll() is None
        time.sleep(0.05)
    worker = Path("/proc") / (tmp_path / "pid").read_text()
    assert worker.exists()
    driver.kill()
    driver.wait()
    while worker.exists() and "Z" not in (worker / "stat").read_text().rsplit(")", 1)[1].split()[0]:
        time.sleep(0.05)


def test_a_damaged_result_is_made_again(
    do_all: DoAll, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, units = UnitStore(tmp_path / "units", ()), counting(tmp_path, range(1))
    do_all(units, store, Here())
    (path,) = (tmp_path / "units").glob("*.npz")
    path.write_bytes(path.read_bytes()[:50])
    assert do_all(units, store, Here()) == [0]
    assert done(tmp_path) == {"done-0": "xx"}
    assert "the result of square of 0 is not used, and made again" in caplog.text


def test_what_a_unit_had_kept_goes_with_its_result(do_all: DoAll, tmp_path: Path) -> None:
    store, (unit,) = UnitStore(tmp_path / "units", ()), counting(tmp_path, range(1))
    kept = store.checkpoints(unit.key) / "first" / "epoch-00000"
    kept.mkdir(parents=True)
    do_all([unit], store, Here())
    assert not store.checkpoints(unit.key).exists()


@pytest.mark.parametrize("step", ["file begun", "part written", "file synced", "file renamed"])
def test_a_result_is_whole_or_absent_wherever_the_process_ends(
    do_all: DoAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A child that dies at each step of a write; what it leaves is read here."""
    store, (unit,) = UnitStore(tmp_path / "units", ()), counting(tmp_path, range(1))

    def end_there(reached: str) -> None:
        if reached == step:
            os._exit(9)

    child = os.fork()
    if child == 0:
        whole_files.reached = end_there
        run_units([unit], store, Here(), lambda *_: None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert store.read(unit) == (0 if step == "file renamed" else None)
    assert do_all([unit], store, Here()) == [0]


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
