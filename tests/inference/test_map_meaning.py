"""Do maps mean anything? Small versions of ``benchmarks/maps.py`` on simulated tumours whose place is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from breastlens.cohort.batches import load_images
from breastlens.cohort.records import Cohort
from breastlens.inference.activation_map import square_maps
from breastlens.inference.predictor import Predictor, load
from breastlens.models._keras import import_keras
from breastlens.models.activation_map import with_activation_map
from breastlens.models.backbones import get_backbone
from breastlens.models.classifier import build_classifier, build_features
from breastlens.models.engine import Engine
from breastlens.models.head import Head
from breastlens.runs.directory import Run


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


def rebuilt(saved: Any) -> Any:
    """The same network built anew, since Keras may give a layer added to a loaded one a name that it has already."""
    backbone = get_backbone("mobilenet:0.25")
    features = build_features(backbone, image_size=64, weights="none", seed=0)
    standardised = saved.get_layer("standardised")
    scale = np.asarray(standardised.scale, np.float64)
    width = scale.size
    head = Head(
        mean=-np.asarray(standardised.offset, np.float64) / scale,
        scale=1 / (scale * np.sqrt(width)),
        weight=np.zeros(width),
        bias=0.0,
    )
    network = build_classifier(features, head)
    network.set_weights(saved.get_weights())
    return network


def test_a_map_hangs_on_the_weights(holdout_run: Run, awkward: Cohort) -> None:
    """Adebayo et al., NeurIPS 2018: a map that stays when weights are dealt anew shows the image, not the model."""
    saved = import_keras().models.load_model(holdout_run.model / "model.keras", compile=False)
    network = rebuilt(saved)
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
