"""Do maps mean anything? Small versions of ``benchmarks/maps.py`` on simulated tumours whose place is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from breastlens.cohort.batches import load_images
from breastlens.cohort.records import Cohort
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.inference.activation_map import square_maps
from breastlens.inference.predictor import Predictor, load
from breastlens.models._keras import import_keras
from breastlens.models.activation_map import with_activation_map
from breastlens.models.backbones import get_backbone
from breastlens.models.engine import Engine
from breastlens.runs.directory import Run
from breastlens.runs.train import train


def sick_pixels(cohort: Cohort) -> np.ndarray:
    return load_images(cohort, cohort.included[cohort.included["label"] == 1]).pixels


def blur_away(pixels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Images with the tenth of their pixels that have the largest scores replaced by a local mean."""
    chosen = scores >= np.quantile(scores, 0.9, axis=(1, 2), keepdims=True)
    assert chosen.mean() == pytest.approx(0.1, abs=0.01)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 8) for image in pixels])
    return np.where(chosen[..., None], blurred, pixels)


def falls(predictor: Predictor, pixels: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much log-odds fall when the top tenth of a map is blurred away, and when random cells are."""
    cells = np.random.default_rng(0).random((len(maps), maps.shape[1] // 8, maps.shape[2] // 8))
    random = np.repeat(np.repeat(cells, 8, axis=1), 8, axis=2)
    # in a cell all pixels are equal: a little of the place decides between them
    random += np.linspace(0, 1e-6, maps[0].size).reshape(maps[0].shape)

    def log_odds(images: np.ndarray) -> np.ndarray:
        found = predictor.bundle.engine.run(images)
        return found["activation_map"].sum(axis=(1, 2, 3)) + found["activation_constant"][:, 0]

    before = log_odds(pixels)
    return before - log_odds(blur_away(pixels, maps)), before - log_odds(blur_away(pixels, random))


def test_without_what_speaks_most_for_it_a_score_falls_more_than_without_as_many_pixels_elsewhere(
    holdout_run: Run, awkward: Cohort
) -> None:
    predictor, pixels = load(holdout_run.directory), sick_pixels(awkward)
    maps = square_maps(predictor.bundle.engine, pixels)
    assert maps is not None
    own, random = falls(predictor, pixels, maps)
    assert own.mean() > 0
    assert (own - random).mean() > 2 * (own - random).std() / np.sqrt(len(own))


def test_a_map_hangs_on_the_weights(holdout_run: Run, awkward: Cohort) -> None:
    """Adebayo et al., NeurIPS 2018: a map that stays when weights are dealt anew shows the image, not the model."""
    network = import_keras().models.load_model(holdout_run.model / "model.keras", compile=False)
    pixels = sick_pixels(awkward)[::3]
    before = square_maps(load(holdout_run.directory).bundle.engine, pixels)
    source = np.random.default_rng(1)
    kernel, bias = network.get_layer("score").get_weights()
    network.get_layer("score").set_weights([source.permutation(kernel), bias])
    engine = Engine.from_keras(with_activation_map(network, get_backbone("mobilenet:0.25")))
    after = square_maps(engine, pixels)
    assert before is not None
    assert after is not None
    likeness = [spearmanr(one.ravel(), two.ravel()).statistic for one, two in zip(before, after, strict=True)]
    assert np.abs(np.mean(likeness)) < 0.5


@pytest.mark.real
def test_with_real_weights_the_peak_lies_near_the_tumour_more_often_than_chance(
    shared_dir: Path, tmp_path: Path
) -> None:
    cohorts = []
    for name, seed in (("training", 11), ("test", 12)):
        settings = PhantomSettings(patients=120, images_per_patient=1, seed=seed)
        cohorts.append(Cohort.read(tmp_path / name, manifest=write_cohort(tmp_path / name, settings)))
    training, judged = cohorts
    options = {"weights": str(shared_dir / "weights"), "audit": False, "out": tmp_path / "run"}
    predictor = load(train(training, backbone="mobilenet:0.75", **options).directory)
    pixels = sick_pixels(judged)
    maps = square_maps(predictor.bundle.engine, pixels)
    assert maps is not None
    side = pixels.shape[1]
    rows = judged.included[judged.included["label"] == 1]
    place = np.column_stack([pd.to_numeric(rows[f"tumour_{axis}_px"]) for axis in ("y", "x")])
    place = (place + 0.5) * side / np.array([480, 640]) - 0.5
    peaks = np.column_stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), (side, side)))
    hits = np.hypot(*(peaks - place).T) <= 12
    chance = np.pi * 12**2 / side**2
    assert hits.mean() > chance + 3 * np.sqrt(chance * (1 - chance) / len(hits))

    own, random = falls(predictor, pixels, maps)
    assert (own - random).mean() > 2 * (own - random).std() / np.sqrt(len(own))
