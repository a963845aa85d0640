from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from breastlens.audit.matched import nuisance_auc, strata
from breastlens.cohort import Cohort
from breastlens.cohort.splits import split_folds, split_groups
from breastlens.errors import DataError
from breastlens.evaluation.stratified import stratified_auc
from breastlens.training.probe import fit_probe


@pytest.fixture
def used() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(12)],
            "label": [0, 1] * 6,
            "patient_id": [f"T{row}" for row in range(12)],
            "format": ["PNG"] * 11 + ["JPEG"],
            "bits": 8,
            "acquired": ["2012-10-08", "08.11.2012", "", "2013-01-01", *["2013-02-01"] * 8],
            "site": ["A", "B", " A ", "unknown", *["A"] * 8],
            "age": ["", *(str(40.5 + row) for row in range(11))],
            "grade:year": ["x"] * 12,
            "dose": ["1", "2", "3", *["2"] * 9],
        }
    )


class TestStrata:
    def test_categories(self, used):
        assert strata(used, "site")[:4].tolist() == ["A", "B", "A", ""]
        assert strata(used, "format").tolist() == ["PNG"] * 11 + ["JPEG"]

    @pytest.mark.parametrize("specification", ["acquired", "acquired:year"])
    def test_years(self, used, specification):
        assert strata(used, specification)[:5].tolist() == ["2012", "2012", "", "2013", "2013"]

    def test_months(self, used):
        assert strata(used, "acquired:month")[:4].tolist() == ["2012-10", "2012-11", "", "2013-01"]

    @pytest.mark.parametrize("specification", ["age", "age:quartile"])
    def test_quartiles(self, used, specification):
        """40.5 to 50.5 in steps of one: borders 43, 45.5 and 48."""
        expected = ["", *["quartile 1"] * 3, *["quartile 2"] * 3, *["quartile 3"] * 2, *["quartile 4"] * 3]
        assert strata(used, specification).tolist() == expected

    def test_a_column_whose_name_has_a_colon_goes_first(self, used):
        assert set(strata(used, "grade:year")) == {"x"}

    def test_few_numbers_are_categories_unless_quartiles_are_asked_for(self, used):
        assert set(strata(used, "dose")) == {"1", "2", "3"}
        assert set(strata(used, "dose:quartile")) == {"quartile 1", "quartile 4"}

    @pytest.mark.parametrize(
        ("specification", "said"),
        [
            ("aquired:year", r"no column 'aquired' .* 'acquired', 'site', .* did you mean 'acquired'\?"),
            ("acquired:decade", "asks for 'decade'"),
            ("site:year", "holds no dates"),
            ("site:quartile", "holds no numbers"),
            ("label", "no column 'label'"),
            ("patient_id", "no column 'patient_id'"),
            ("", "no column ''"),
        ],
    )
    def test_what_is_not_there_is_refused_with_what_is(self, used, specification, said):
        with pytest.raises(DataError, match=said):
            strata(used, specification)


class TestNuisance:
    """Features of 120 healthy and 80 sick patients; the first one shows the device, the second the disease."""

    def features(self, device: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(labels.size, 12))
        noise[:, 0] += 2 * device
        noise[:, 1] += 2 * labels
        return np.abs(noise).astype(np.float32) + np.where(np.arange(12) < 2, noise.clip(0), 0)

    def test_what_the_image_shows_is_found(self):
        rng = np.random.default_rng(1)
        labels = np.array([0] * 120 + [1] * 80)
        device = rng.integers(0, 2, 200)
        found = nuisance_auc(
            self.features(device, labels), np.where(device, "new", "old"), labels, np.arange(200), seed=0
        )
        assert found["auc"] > 0.8
        assert 0.7 < found["low"] < found["auc"] < found["high"] <= 1
        assert found["label"] == 0
        assert found["asked"] in ("new from the rest", "old from the rest")
        assert "reason" not in found

    def test_what_the_image_does_not_show_is_not(self):
        rng = np.random.default_rng(2)
        labels = np.array([0] * 120 + [1] * 80)
        found = nuisance_auc(
            self.features(np.zeros(200), labels),
            rng.integers(0, 2, 200).astype(str),
            labels,
            np.arange(200),
            seed=0,
        )
        assert found["low"] < 0.5 < found["high"]

    def test_the_label_cannot_help(self):
        """The device is the label in nine of ten; the image shows the label only."""
        rng = np.random.default_rng(3)
        labels = np.array([0] * 120 + [1] * 80)
        device = np.where(rng.random(200) < 0.15, 1 - labels, labels)
        found = nuisance_auc(
            self.features(np.zeros(200), labels), device.astype(str), labels, np.arange(200), seed=0
        )
        assert found["low"] < 0.5 < found["high"]

    def test_no_patient_is_in_training_and_scored(self):
        """Each patient's images are all but the same, and a patient has one device: by image it would be certain."""
        rng = np.random.default_rng(4)
        labels, groups = np.zeros(200, dtype=int), np.repeat(np.arange(40), 5)
        device = rng.integers(0, 2, 40)[groups]
        features = np.abs(rng.normal(size=(40, 30)))[groups] + 0.001 * rng.random((200, 30))
        found = nuisance_auc(features, device.astype(str), labels, groups, seed=0)
        assert found["auc"] < 0.75
        assert found["label"] == 0

    def test_dates_are_split_at_the_median_and_blanks_left_out(self):
        labels = np.array([0] * 60)
        days = [f"2015-01-{1 + row % 28:02}" for row in range(30)] + [
            f"2018-03-{1 + row % 28:02}" for row in range(28)
        ]
        features = np.abs(np.random.default_rng(0).normal(size=(60, 5)))
        found = nuisance_auc(features, [*days, "", None], labels, np.arange(60), seed=0)
        assert found["images"] == 58
        assert found["asked"].startswith("later than 2015-01-2")
        assert found["images_asked"] in (28, 29)

    @pytest.mark.parametrize("values", [[""] * 40, ["A"] * 40, ["A"] * 35 + ["B"] * 5])
    def test_without_enough_on_both_sides_there_is_a_reason(self, values):
        labels = np.array([0, 1] * 20)
        found = nuisance_auc(np.ones((40, 3)), values, labels, np.arange(40), seed=0)
        assert found["auc"] is None
        assert found["low"] is None
        assert "fewer than 10 patients" in found["reason"]

    def test_the_same_seed_gives_the_same_figure(self):
        labels = np.array([0] * 60)
        features = np.abs(np.random.default_rng(0).normal(size=(60, 5)))
        first, second = (
            nuisance_auc(features, ["a", "b"] * 30, labels, np.arange(60), seed=2) for _ in range(2)
        )
        assert first == second


@pytest.mark.real
def test_thermograms_within_years(shared_dir):
    """What a probe on thumbnails loses when years are held equal, and how well thumbnails tell the years."""
    import cv2

    root = shared_dir / "data/dmr"
    used = Cohort.read(root, manifest=root / "manifest.csv", exclude_when="note").included
    shrunk = [
        cv2.resize(cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE), (16, 12), interpolation=cv2.INTER_AREA)
        for path in used["path"]
    ]
    features = np.stack(shrunk).reshape(len(used), -1) / 255
    labels, groups = used["label"].to_numpy(), split_groups(used)
    folds = split_folds(labels, groups, 5, seed=0)
    scores = np.full(len(used), np.nan)
    for fold in range(5):
        inside = folds != fold
        scores[~inside] = fit_probe(features[inside], labels[inside], groups[inside], seed=0).scores(
            features[~inside]
        )
    patients = used["patient_id"].tolist()
    whole = stratified_auc(labels, scores, ["all"] * len(used), patients)
    within = stratified_auc(labels, scores, strata(used, "acquired:year").tolist(), patients)
    assert within["strata_used"] == {"2013": [78, 11], "2014": [8, 11], "2015": [2, 16]}
    assert set(within["strata_left_out"]) == {"2012", "2018", "2019", "2020"}
    assert within["value"] < whole["value"] - 0.1
    found = nuisance_auc(features, used["acquired"], labels, groups, seed=0)
    assert found["label"] == 0
    assert found["auc"] > 0.7
    assert found["asked"] == "later than 2013-01-15 from the rest"
