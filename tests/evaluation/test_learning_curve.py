"""The curve through AUCs by size: known laws are found again, and no fit is worse than SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from breastlens.evaluation.delong import estimate_aucs
from breastlens.evaluation.inputs import find_units
from breastlens.evaluation.learning_curve import (
    EXPONENTS,
    _draw_curves,
    _training_variances,
    evaluate_learning_curve,
    fit_power_law,
    power_law,
)

SIZES = np.array([20.0, 32, 50, 80, 127, 200])


@pytest.mark.parametrize("exponent", EXPONENTS[[5, 20, 35]])
def test_a_curve_without_noise_gives_its_parameters_back(exponent: float) -> None:
    wanted = np.array([[0.93, 0.2 * 20**exponent, exponent]])
    found = fit_power_law(SIZES, power_law(wanted, SIZES), np.array([1.0, 2, 3, 4, 5, 6]))
    assert found == pytest.approx(wanted, rel=1e-6)


def test_no_fit_is_worse_than_that_of_scipy() -> None:
    generator = np.random.default_rng(2)
    weights = np.array([1.0, 1, 2, 2, 4, 8])
    noisy = 0.95 - 1.2 * SIZES**-0.7 + generator.normal(scale=0.01, size=(10, 6)) / np.sqrt(weights)
    found = fit_power_law(SIZES, noisy, weights)
    errors = ((power_law(found, SIZES) - noisy) ** 2) @ weights
    for values, error in zip(noisy, errors, strict=True):
        (a, b, c), _ = curve_fit(
            lambda n, a, b, c: a - b * n**-c,
            SIZES,
            values,
            p0=(0.95, 1.2, 0.7),
            sigma=1 / np.sqrt(weights),
            bounds=([0, 0, EXPONENTS[0]], [1, np.inf, EXPONENTS[-1]]),
        )
        assert error <= 1.02 * float(((a - b * SIZES**-c - values) ** 2) @ weights) + 1e-12


def test_a_falling_curve_is_taken_as_flat_and_none_passes_one() -> None:
    weights = np.arange(1.0, 7)
    falling = np.linspace(0.9, 0.8, 6)
    a, b, _ = fit_power_law(SIZES, falling[None], weights)[0]
    assert b == 0
    assert a == pytest.approx(np.average(falling, weights=weights))
    steep = np.linspace(0.6, 0.99, 6)  # would reach 1 soon
    assert power_law(fit_power_law(SIZES, steep[None], weights), np.array([1e9]))[0, 0] <= 1


@pytest.fixture(scope="module")
def measured() -> tuple[np.ndarray, list[str], list[list[np.ndarray]]]:
    """Scores of 150 patients that grow better with the size, two draws a size."""
    generator = np.random.default_rng(1)
    labels = (np.arange(300) // 2 % 5 < 2).astype(int)
    patients = [f"p{number // 2}" for number in range(300)]
    person = np.repeat(generator.normal(size=150), 2)
    scores = [
        [expit(labels * lift + person + 0.7 * generator.normal(size=300)) for _ in range(2)]
        for lift in (0.8, 1.2, 1.5, 1.7, 1.8, 1.85)
    ]
    return labels, patients, scores


def test_points_are_means_over_draws_and_the_band_holds_them(measured: tuple) -> None:
    labels, patients, scores = measured
    found = evaluate_learning_curve(labels, SIZES.tolist(), scores, patients, draws=200)
    for point, each in zip(found["points"], scores, strict=True):
        areas = [roc_auc_score(labels, one) for one in each]
        assert point["values"] == pytest.approx(areas)
        assert point["auc"]["value"] == pytest.approx(np.mean(areas))
        assert point["auc"]["low"] < point["auc"]["value"] < point["auc"]["high"]
    fit, twice = found["fit"], found["twice"]
    own = np.array([[fit["a"], fit["b"], fit["c"]]])
    assert twice["patients"] == 400
    assert twice["auc"]["value"] == pytest.approx(power_law(own, np.array([400.0]))[0, 0])
    assert twice["gain"]["value"] == pytest.approx(
        twice["auc"]["value"] - power_law(own, np.array([200.0]))[0, 0]
    )
    assert 0 < twice["gain"]["low"] < twice["gain"]["value"] < 0.1
    band = fit["band"]
    assert band["patients"][0] == pytest.approx(20)
    assert band["patients"][-1] == pytest.approx(400)
    assert all(low < high for low, high in zip(band["low"], band["high"], strict=True))
    # judged patients are drawn for all sizes at once, so the gain is far surer than the AUC
    assert twice["gain"]["high"] - twice["gain"]["low"] < twice["auc"]["high"] - twice["auc"]["low"]


def test_where_no_curve_can_be_fitted_the_reason_is_said(measured: tuple) -> None:
    labels, patients, scores = measured
    few = evaluate_learning_curve(labels, [20, 40, 80], scores[:3], patients, draws=10)
    assert few["fit"] is few["twice"] is None
    assert few["reason"] == "a curve needs at least 4 sizes, and there are 3"
    assert len(few["points"]) == 3
    lone = ["one" if label else name for label, name in zip(labels, patients, strict=True)]
    alone = evaluate_learning_curve(labels, SIZES.tolist(), scores, lone, draws=10)
    assert "a class has one patient only, the positive one" in alone["reason"]
    assert alone["points"][0]["auc"]["low"] is None


def test_the_band_has_the_variance_of_judged_patients_and_of_training_draws() -> None:
    """The judged patients' by DeLong; that of the mean of five training draws, and of one as that of the others."""
    generator = np.random.default_rng(0)
    labels, units = np.tile([0, 1], 200), find_units(None, 400)
    lifts = [[0.7, 0.85, 1.0, 1.15, 1.3]] * 4 + [[1.0]]
    scores = [
        np.stack([expit(labels * lift + generator.normal(size=400)) for lift in each]) for each in lifts
    ]
    areas = [[roc_auc_score(labels, one) for one in each] for each in scores]
    own = [np.var(each, ddof=1) for each in areas[:4]]
    training = _training_variances(areas)
    assert training == pytest.approx([*own, np.mean(own)])
    curves = _draw_curves(labels, scores, training, units, 0, 4000)
    for place, (each, variance) in enumerate(zip(scores, training, strict=True)):
        judged = estimate_aucs(labels, each, units).covariance.mean()
        assert curves[:, place].var() == pytest.approx(judged + variance / len(each), rel=0.1)
    assert _training_variances([[0.7], [0.8]]) == [0.0, 0.0]


def test_weights_are_not_kept_for_all_draws(monkeypatch: pytest.MonkeyPatch, measured: tuple) -> None:
    labels, patients, scores = measured
    at_once = evaluate_learning_curve(labels, SIZES.tolist(), scores, patients, draws=40)
    monkeypatch.setattr("breastlens.evaluation.resampling._WEIGHTS_AT_ONCE", 300 * 7)
    assert evaluate_learning_curve(labels, SIZES.tolist(), scores, patients, draws=40) == at_once
