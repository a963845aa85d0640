"""The share of a map on the body: closed forms, what cannot be measured, and intervals over patients."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.audit.body_share import body_shares, describe_body_share
from breastlens.cohort import Cohort
from breastlens.cohort.batches import load_images
from breastlens.errors import DataError
from breastlens.imaging.body import body_mask

SIZE = 64


def halves(bright: str = "left") -> np.ndarray:
    """An image whose body is one half of it."""
    grey = np.full((SIZE, SIZE), 15, np.uint8)
    grey[:, : SIZE // 2] = 190
    if bright == "right":
        grey = grey[:, ::-1]
    return np.repeat(grey[..., None], 3, axis=2)


def without_body() -> np.ndarray:
    return np.full((SIZE, SIZE, 3), 120, np.uint8)


def test_a_flat_map_has_the_bodys_own_share():
    images = np.stack([halves(), halves("right")])
    shares, areas = body_shares(np.full((2, 4, 4), 0.3, np.float32), images)
    masks = [body_mask(image) for image in images]
    np.testing.assert_allclose(areas, [mask.mean() for mask in masks])
    np.testing.assert_allclose(areas, 0.5, atol=0.04)
    np.testing.assert_allclose(shares, areas, rtol=1e-6)
    assert shares.dtype == areas.dtype == np.float64


def test_the_map_is_brought_to_the_images_size_bilinearly():
    """Weights 1, 0 in two columns: between their middles the map falls evenly, beyond them it stays."""
    image = halves()
    mask = body_mask(image)
    columns = (
        np.arange(SIZE) + 0.5
    ) / SIZE  # middles of pixels; those of the map's columns lie at 1/4 and 3/4
    shown = np.clip((0.75 - columns) / 0.5, 0, 1)
    shares, _ = body_shares(np.array([[[1, 0], [1, 0]]], np.float32), image[None])
    assert shares[0] == pytest.approx((mask * shown).sum() / (SIZE * shown.sum()), rel=1e-6)
    assert 0.85 < shares[0] < 0.95


@pytest.mark.parametrize(("bright", "expected"), [("left", 1.0), ("right", 0.0)])
def test_all_on_the_body_and_all_beside_it(bright, expected):
    activation = np.zeros((1, 8, 8), np.float32)
    activation[0, :, 0] = 5
    shares, _ = body_shares(activation, halves(bright)[None])
    assert shares[0] == expected


def test_how_strong_a_map_is_does_not_count():
    images = np.stack([halves()] * 3)
    one = np.random.default_rng(0).random((1, 5, 7)).astype(np.float32)
    shares, _ = body_shares(np.concatenate([one, 1000 * one, 1e-6 * one]), images)
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)


def test_what_cannot_be_measured_is_nan():
    maps = np.ones((3, 4, 4), np.float32)
    maps[2] = 0
    shares, areas = body_shares(maps, np.stack([without_body(), halves(), halves()]))
    assert np.isnan(shares).tolist() == [True, False, True]
    assert np.isnan(areas).tolist() == [True, False, False]


def test_no_images_give_no_shares():
    shares, areas = body_shares(np.empty((0, 4, 4), np.float32), np.empty((0, SIZE, SIZE, 3), np.uint8))
    assert shares.shape == areas.shape == (0,)


@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf])
def test_maps_that_are_no_maps_are_refused(wrong):
    maps = np.ones((1, 4, 4), np.float32)
    maps[0, 1, 1] = wrong
    with pytest.raises(ValueError, match="finite and 0 or more"):
        body_shares(maps, halves()[None])


def test_a_map_for_each_image():
    with pytest.raises(ValueError, match=r"maps \(2, 4, 4\) and images \(1, 64, 64, 3\)"):
        body_shares(np.ones((2, 4, 4), np.float32), halves()[None])


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_share_lies_between_nought_and_one_and_the_rest_beside_the_body(height, width, seed):
    activation = np.random.default_rng(seed).exponential(1, (1, height, width)).astype(np.float32) ** 3
    shares, _ = body_shares(activation, halves()[None])
    assert 0 <= shares[0] <= 1
    turned, _ = body_shares(activation[:, :, ::-1], halves("right")[None])
    assert turned[0] == pytest.approx(shares[0], abs=1e-5)


def test_means_and_counts():
    shares = np.array([0.9, 0.7, np.nan, 0.5, np.nan])
    areas = np.array([0.6, 0.6, np.nan, 0.3, 0.4])
    found = describe_body_share(shares, areas, ["a", "b", "c", "d", "e"], seed=1)
    assert (found["images"], found["without_body"], found["without_map"]) == (3, 1, 1)
    assert found["share"]["value"] == pytest.approx(0.7)
    assert found["area"] == pytest.approx(0.5)
    assert found["excess"]["value"] == pytest.approx(0.2)
    assert found["share"]["low"] < 0.7 < found["share"]["high"]
    assert found["share"]["level"] == 0.95
    assert found["share"]["method"] == "bootstrap of patients, BCa, 2000 draws"
    assert "reason" not in found
    json.dumps(found, allow_nan=False)


def test_the_interval_is_that_of_a_mean_over_patients():
    """Many patients with one image each: near the normal interval; the same images in few patients: much wider."""
    source = np.random.default_rng(2)
    effect = source.normal(0, 0.1, 20)
    shares = 0.6 + np.repeat(effect, 20) + source.normal(0, 0.01, 400)
    areas = np.full(400, 0.5)
    alone = describe_body_share(shares, areas, [f"p{row}" for row in range(400)], seed=0)["share"]
    half_width = 1.96 * shares.std() / np.sqrt(400)
    assert alone["high"] - alone["low"] == pytest.approx(2 * half_width, rel=0.1)
    grouped = describe_body_share(shares, areas, [f"p{row // 20}" for row in range(400)], seed=0)["share"]
    by_patient = 1.96 * shares.reshape(20, 20).mean(axis=1).std() / np.sqrt(20)
    assert grouped["high"] - grouped["low"] == pytest.approx(2 * by_patient, rel=0.1)
    unknown = describe_body_share(shares, areas, [""] * 400, seed=0)["share"]
    assert unknown["method"] == "bootstrap of images (patients unknown), BCa, 2000 draws"
    assert unknown["high"] - unknown["low"] == pytest.approx(2 * half_width, rel=0.1)


def test_share_and_area_go_together_in_the_excess():
    """Where the share follows the area, the excess is certain however much both vary."""
    source = np.random.default_rng(4)
    areas = source.uniform(0.2, 0.8, 50)
    found = describe_body_share(
        areas + 0.1 + source.normal(0, 1e-3, 50), areas, [str(row) for row in range(50)], seed=0
    )
    assert found["share"]["high"] - found["share"]["low"] > 0.05
    assert found["excess"]["high"] - found["excess"]["low"] < 0.001
    assert found["excess"]["low"] > 0.099


def test_the_same_seed_gives_the_same_and_images_left_out_change_nothing():
    source = np.random.default_rng(5)
    shares, areas = source.random(30), source.random(30)
    patients = [f"p{row % 12}" for row in range(30)]
    one = describe_body_share(shares, areas, patients, seed=7)
    assert describe_body_share(shares, areas, patients, seed=7) == one
    assert describe_body_share(shares, areas, patients, seed=8)["share"]["low"] != one["share"]["low"]
    more = describe_body_share(
        np.append(shares, np.nan), np.append(areas, np.nan), [*patients, "another"], seed=7
    )
    assert more == one | {"without_body": 1}


@pytest.mark.parametrize(
    ("shares", "areas", "reason"),
    [
        ([], [], "no image"),
        ([np.nan, np.nan], [np.nan, np.nan], "no body stands out"),
        ([np.nan, np.nan], [np.nan, 0.5], "zero everywhere"),
    ],
)
def test_nothing_measured_says_why(shares, areas, reason):
    found = describe_body_share(np.array(shares), np.array(areas), ["a"] * len(shares), seed=0)
    assert found["images"] == 0
    assert found["share"] is found["area"] is found["excess"] is None
    assert reason in found["reason"]


def test_one_patient_has_a_value_and_no_interval():
    found = describe_body_share(np.array([0.5, 0.7]), np.array([0.4, 0.4]), ["a", "a"], seed=0)
    assert found["share"]["value"] == pytest.approx(0.6)
    assert found["share"]["low"] is found["share"]["high"] is None
    assert "one patient only" in found["share"]["reason"]
    json.dumps(found, allow_nan=False)


def test_shares_all_alike_have_no_interval():
    found = describe_body_share(np.full(9, 0.5), np.linspace(0.1, 0.9, 9), list("abcdefghi"), seed=0)
    assert found["share"]["low"] is None
    assert "the same in nearly every draw" in found["share"]["reason"]
    assert found["excess"]["low"] is not None


def test_a_patient_for_each_image():
    with pytest.raises(DataError, match="patient_id must hold one id for each"):
        describe_body_share(np.array([0.5, 0.7]), np.array([0.4, 0.4]), ["a"], seed=0)
    with pytest.raises(ValueError, match="a share and an area for each image"):
        describe_body_share(np.array([0.5, 0.7]), np.array([0.4]), ["a", "b"], seed=0)


@pytest.mark.real
def test_thermograms_are_mostly_body(shared_dir):
    root = shared_dir / "data/dmr"
    cohort = Cohort.read(root, manifest=root / "manifest.csv", exclude_when="note")
    rows = cohort.included.iloc[::12]
    pixels = load_images(cohort, rows).pixels
    shares, areas = body_shares(np.ones((len(pixels), 4, 4), np.float32), pixels)
    found = describe_body_share(shares, areas, rows["patient_id"].tolist(), seed=0)
    assert found["images"] >= 0.95 * len(rows)
    assert 0.6 < found["area"] < 0.85
    assert abs(found["excess"]["value"]) < 1e-6
