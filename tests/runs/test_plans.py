"""The trainings of several runs side by side: which are begun when, and what one that fails takes with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breastlens.config import TrainingRecipe
from breastlens.errors import DataError, SplitError, WorkerError
from breastlens.evaluation.calibration import Calibration
from breastlens.evaluation.thresholds import OperatingPoint
from breastlens.models.backbones import get_backbone
from breastlens.progress import Progress
from breastlens.runs.plans import Plan, fit_runs, plan_split
from breastlens.runs.trainings import PARTS_OF_TRAINED, Ground, Trained
from breastlens.training.fitted import Fit, TrainingImages
from breastlens.training.precision import Choice
from breastlens.work.run import Failed
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit

FOLDS = 3
PROBE = {"strategy": "probe"}
AUTO = {"strategy": "finetune", "training_precision": "auto"}


class Imagined:
    """A place that trains nothing: so many at once, first come first served."""

    def __init__(self, at_once: int, errors: dict[str, Exception] | None = None) -> None:
        self.at_once = at_once
        self.errors = errors or {}
        self.begun: list[str] = []
        self.chosen: dict[str, Choice | None] = {}

    def do(self, units: Iterable[Unit | None]) -> Iterator[tuple[Unit, Any]]:
        rest, working = iter(units), deque[Unit]()
        while True:
            while len(working) < self.at_once and (unit := next(rest, None)) is not None:
                working.append(unit)
                self.begun.append(unit.title)
                self.chosen[unit.title] = unit.arguments[1].choice
            if not working:
                return
            unit = working.popleft()
            error = self.errors.get(unit.title)
            yield unit, imagined(unit.title) if error is None else Failed(error)


def imagined(title: str) -> Trained:
    choice = Choice("bfloat16", len(title), {})
    fit = Fit("probe", (OperatingPoint(0.5, "", None, None),), Calibration(), "", [], choice=choice)
    return Trained(np.zeros(4), np.zeros(4), {}, fit, None, 1.0, 2.0)


def plans(backbone: str, repeats: int = 1, **settings: Any) -> list[Plan]:
    groups = np.arange(12)
    images = TrainingImages(
        np.zeros((12, 1, 1, 3), np.uint8), np.zeros((12, 2), np.float32), groups % 2, groups
    )
    ground = Ground(images, get_backbone(backbone), lambda: None, lambda _: None, backbone, {}, Progress())  # type: ignore[arg-type,return-value]
    made = []
    for repeat in range(repeats):
        recipe = TrainingRecipe(backbone=backbone, folds=FOLDS, seed=repeat, **settings)
        split = np.roll(groups % FOLDS, repeat).astype(str)
        made.append(plan_split(ground, split, "folds", recipe=recipe, everyone=repeat == 0))
    return made


@pytest.fixture
def store(tmp_path: Path) -> UnitStore:
    return UnitStore(tmp_path / "units", PARTS_OF_TRAINED)


def test_probes_of_all_runs_and_repeats_are_begun_before_any_comes_back(store: UnitStore) -> None:
    place, runs = Imagined(99), [plans("vgg16", 2, **PROBE), plans("mobilenet", 2, **PROBE)]
    first, second = fit_runs(runs, store, place)
    assert len(place.begun) == 2 * (2 * FOLDS + 1)
    for trained in (first, second):
        assert isinstance(trained, list)
        assert [len(each) for each in trained] == [FOLDS + 1, FOLDS]


def test_of_each_run_the_first_chooses_the_precision_and_holds_up_no_other_run(store: UnitStore) -> None:
    place, runs = Imagined(2), [plans("vgg16", **AUTO), plans("mobilenet", **AUTO)]
    fit_runs(runs, store, place)
    first_of_each = [f"finetune fold 1 of 3 of {name}" for name in ("vgg16", "mobilenet")]
    assert place.begun[:2] == first_of_each
    assert place.begun[2] == "finetune fold 2 of 3 of vgg16"
    for title, choice in place.chosen.items():
        own = next(first for first in first_of_each if first.endswith(title.rsplit(" ", 1)[1]))
        assert choice == (None if title == own else Choice("bfloat16", len(own), {}))


@pytest.mark.parametrize("settings", [PROBE, AUTO])
def test_after_one_that_failed_no_other_of_its_run_is_begun_and_the_other_runs_go_on(
    store: UnitStore, settings: dict[str, Any]
) -> None:
    bad = f"{settings['strategy']} fold 1 of 3 of vgg16"
    place = Imagined(1, {bad: SplitError("one class only")})
    failed, trained = fit_runs([plans("vgg16", **settings), plans("mobilenet", **settings)], store, place)
    assert isinstance(failed, Failed)
    assert str(failed.error) == "one class only"
    assert isinstance(trained, list)
    assert [title for title in place.begun if title.endswith("vgg16")] == [bad]
    again = Imagined(1)
    mended, _ = fit_runs([plans("vgg16", **settings), plans("mobilenet", **settings)], store, again)
    assert isinstance(mended, list)
    assert {title.rsplit(" ", 1)[1] for title in again.begun} == {"vgg16"}, "what was done is done again"


def test_a_run_that_loses_its_workers_is_no_reason_to_end_the_others(store: UnitStore) -> None:
    place = Imagined(4, {"probe on everyone of vgg16": WorkerError("set aside")})
    failed, trained = fit_runs([plans("vgg16", **PROBE), plans("mobilenet", **PROBE)], store, place)
    assert isinstance(failed, Failed)
    assert isinstance(trained, list)


def test_a_full_disk_ends_all_of_it(store: UnitStore) -> None:
    place = Imagined(2, {"probe fold 1 of 3 of vgg16": OSError(28, "No space left on device")})
    with pytest.raises(OSError, match="No space left"):
        fit_runs([plans("vgg16", **PROBE), plans("mobilenet", **PROBE)], store, place)
    assert len(place.begun) == 2


def test_what_was_done_before_chooses_for_what_is_left(store: UnitStore) -> None:
    place = Imagined(1, {"finetune fold 2 of 3": DataError("the loss is no number")})
    (failed,) = fit_runs([plans("vgg16", **AUTO)], store, place)
    assert isinstance(failed, Failed)
    assert place.begun == ["finetune fold 1 of 3", "finetune fold 2 of 3"]
    again = Imagined(1)
    (trained,) = fit_runs([plans("vgg16", **AUTO)], store, again)
    assert isinstance(trained, list)
    assert again.begun == ["finetune fold 2 of 3", "finetune fold 3 of 3", "finetune on everyone"]
    chosen = Choice("bfloat16", len("finetune fold 1 of 3"), {})
    assert list(again.chosen.values()) == [chosen] * 3
