"""How strongly an image gives away what is not the disease."""

from __future__ import annotations

import numpy as np
import pytest

from breastlens.audit.nuisance import nuisance_auc


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

    def test_years_are_dates_if_the_column_is_named_for_them(self):
        """Four numbers alone are categories, and the question would be about one of them."""
        labels = np.array([0] * 120)
        years = np.repeat(["2012", "2013", "2014", "2015"], 30)
        features = np.abs(np.random.default_rng(0).normal(size=(120, 5)))
        asked = [
            nuisance_auc(features, years, labels, np.arange(120), seed=0, name=name)["asked"]
            for name in ("", "year")
        ]
        assert asked == ["2012 from the rest", "later than 2013-07-02 from the rest"]

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
