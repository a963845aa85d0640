"""A job that ended before its run was complete: what is kept, what is told, and what it does not go on with."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from breastlens.cohort.records import Cohort
from breastlens.config import TrainingRecipe
from breastlens.errors import DataError, RunDirectoryError
from breastlens.progress import Progress
from breastlens.runs.job import Purpose, open_job, purpose_of, read_purpose, unit_store
from breastlens.work.run import Here, run_units
from breastlens.work.unit import Unit, content_key

ARGUMENTS = {"data": "/images", "folds": 3}


class Told(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def purpose(awkward: Cohort) -> Purpose:
    recipe = TrainingRecipe(weights="none", folds=3)
    return purpose_of(awkward, recipe, arguments=ARGUMENTS, command=["breastlens", "train"])


def begin(
    out: Path,
    cohort: Cohort,
    purpose: Purpose,
    error: BaseException | None,
    *,
    units: int = 1,
    told: Told | None = None,
    keep: bool = True,
) -> None:
    """A job that does some units and then ends in some way."""
    with open_job(out, cohort, purpose, resume=False, progress=told or Told(), keep=keep) as job:
        work = [Unit(str(number), content_key(number), double, (number,)) for number in range(units)]
        run_units(work, unit_store(job), Here(), lambda *_: None)
        if error is not None:
            raise error


def test_nothing_is_left_where_it_ended_well(awkward: Cohort, purpose: Purpose, tmp_path: Path) -> None:
    begin(tmp_path / "run", awkward, purpose, None)
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_told_with_how_to_go_on(awkward: Cohort, purpose: Purpose, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    with pytest.raises(DataError) as error:
        begin(out, awkward, purpose, DataError("bad"))
    assert error.value.__notes__ == [
        f"What was finished is kept: breastlens train --resume '{out}' goes on with it"
    ]
    assert read_purpose(out).arguments == ARGUMENTS
    with open_job(out, awkward, purpose, resume=True, progress=Progress()) as job:
        assert len(list(job.glob("units/*.npz"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_told_too(awkward: Cohort, purpose: Purpose, tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "run", awkward, purpose, KeyboardInterrupt(), told=told)
    assert told.lines == [
        f"What was finished is kept; go on with: breastlens train --resume {tmp_path / 'run'}"
    ]


@pytest.mark.parametrize(("keep", "units"), [(True, 0), (False, 1)])
def test_nothing_is_left_where_there_is_nothing_to_go_on_with(
    awkward: Cohort, purpose: Purpose, tmp_path: Path, *, keep: bool, units: int
) -> None:
    with pytest.raises(DataError) as error:
        begin(tmp_path / "run", awkward, purpose, DataError("bad"), units=units, keep=keep)
    assert not hasattr(error.value, "__notes__")
    assert list(tmp_path.iterdir()) == []


def test_what_was_begun_is_not_begun_again(awkward: Cohort, purpose: Purpose, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(DataError):
        begin(out, awkward, purpose, DataError("bad"))
    with pytest.raises(RunDirectoryError, match=r"was begun and not finished: breastlens train --resume"):
        begin(out, awkward, purpose, None)


@pytest.mark.parametrize(
    ("section", "name", "value", "told"),
    [
        ("recipe", "folds", 5, "folds was 3, is 5"),
        ("recipe", "epochs", 9, "epochs was "),
        ("image", "image_size", 96, "image size was "),
        ("versions", "keras", "3.0.0", "keras was "),
        ("weights", "mobilenetv2", "another", "weights of mobilenetv2 was "),
    ],
)
def test_another_purpose_is_refused_and_the_difference_named(
    awkward: Cohort, purpose: Purpose, tmp_path: Path, section: str, name: str, value: object, told: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(DataError):
        begin(out, awkward, purpose, DataError("bad"))
    other = dataclasses.replace(purpose, **{section: {**getattr(purpose, section), name: value}})
    with (
        pytest.raises(RunDirectoryError, match="was begun otherwise, so it cannot go on") as error,
        open_job(out, awkward, other, resume=True, progress=Progress()),
    ):
        pass
    assert told in str(error.value)
    assert list(tmp_path.glob(".run.units/units/*.npz"))


def test_other_images_are_refused_by_name(awkward: Cohort, purpose: Purpose, tmp_path: Path) -> None:
    out, table = tmp_path / "run", awkward.table.copy()
    with pytest.raises(DataError):
        begin(out, awkward, purpose, DataError("bad"))
    changed, gone = table.loc[0, "path"], table.loc[1, "path"]
    table.loc[0, "pixels_sha256"] = "0" * 64
    table = table.drop(index=1)
    with (
        pytest.raises(RunDirectoryError) as error,
        open_job(out, dataclasses.replace(awkward, table=table), purpose, resume=True, progress=Progress()),
    ):
        pass
    assert f"1 image is gone ({gone}); 1 image is changed ({changed})" in str(error.value)


def test_two_processes_never_work_on_one_run(awkward: Cohort, purpose: Purpose, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with open_job(out, awkward, purpose, resume=False, progress=Progress()):
        child = os.fork()
        if child == 0:
            try:
                with open_job(out, awkward, purpose, resume=True, progress=Progress()):
                    os._exit(1)
            except RunDirectoryError as error:
                os._exit(0 if "another process is working on it" in str(error) else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda out: None, "there is no training to go on with"),
        (lambda out: (out.mkdir(), (out / "run.json").write_text("{}")), "is complete"),
    ],
)
def test_there_must_be_something_to_go_on_with(tmp_path: Path, make: Any, told: str) -> None:
    make(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=told):
        read_purpose(tmp_path / "run")


def test_a_damaged_job_is_told_in_a_line(awkward: Cohort, purpose: Purpose, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(DataError):
        begin(out, awkward, purpose, DataError("bad"))
    (tmp_path / ".run.units" / "job.json").write_text('{"format"')
    with pytest.raises(RunDirectoryError, match="is damaged"):
        read_purpose(out)


def test_what_a_killed_process_had_of_the_run_is_removed(
    awkward: Cohort, purpose: Purpose, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(DataError):
        begin(out, awkward, purpose, DataError("bad"))
    (tmp_path / ".run.unfinished-abc").mkdir()
    with open_job(out, awkward, purpose, resume=True, progress=Progress()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_changed_split_of_the_manifest_is_noticed(
    awkward: Cohort, purpose: Purpose, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    parts = awkward.table.assign(split="train")
    with pytest.raises(DataError):
        begin(out, dataclasses.replace(awkward, table=parts), purpose, DataError("bad"))
    parts = parts.assign(split="test")
    with (
        pytest.raises(RunDirectoryError, match=r"images are changed \("),
        open_job(out, dataclasses.replace(awkward, table=parts), purpose, resume=True, progress=Progress()),
    ):
        pass


def test_where_weights_lie_does_not_matter_but_what_they_are(awkward: Cohort) -> None:
    of = [
        purpose_of(awkward, TrainingRecipe(weights=name, strategy="scratch"), arguments=None, command=())
        for name in ("none", "imagenet")
    ]
    assert of[0] == of[1]


def test_the_rest_of_a_job_whose_run_is_complete_is_removed(
    awkward: Cohort, purpose: Purpose, tmp_path: Path
) -> None:
    """The process was killed between giving the run its name and removing its folder."""
    out = tmp_path / "run"
    with pytest.raises(DataError):
        begin(out, awkward, purpose, DataError("bad"))
    out.mkdir()
    (out / "run.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match="is complete"):
        read_purpose(out)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_system_without_locks_is_warned_of(
    awkward: Cohort, purpose: Purpose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def no_locks(handle: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("breastlens.runs.job._lock", no_locks)
    begin(tmp_path / "run", awkward, purpose, None)
    assert "has no locks" in caplog.text
