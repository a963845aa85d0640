"""Labels that the images speak against: the wrong ones are named, and a model that guesses names none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from breastlens.audit.labels import (
    expect_doubtful_share,
    find_doubtful_labels,
    find_inverted_labels,
    rank_doubtful_labels,
)


def table(labels: np.ndarray, images_a_patient: int = 1) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{number:03d}.png" for number in range(labels.size)],
            "patient_id": [f"P{number // images_a_patient}" for number in range(labels.size)],
            "label": labels,
        }
    )


@pytest.fixture
def flipped() -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Labels of 80 images, scores that know the truth, and the three whose label is wrong, the surest first."""
    generator = np.random.default_rng(0)
    truth = np.arange(80) % 2
    scores = np.where(truth == 1, 0.85, 0.15) + generator.uniform(-0.1, 0.1, 80)
    wrong = [7, 20, 41]  # 7 and 41 are positive in truth, 20 is negative
    scores[7], scores[20], scores[41] = 0.99, 0.03, 0.95
    labels = truth.copy()
    labels[wrong] = 1 - labels[wrong]
    return labels, scores, wrong


def test_wrong_labels_are_ranked_by_how_little_is_believed_of_them(
    flipped: tuple[np.ndarray, np.ndarray, list[int]],
) -> None:
    labels, scores, wrong = flipped
    assert rank_doubtful_labels(labels, scores).tolist() == wrong


def test_the_finding_names_them_in_that_order(flipped: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    labels, scores, wrong = flipped
    (finding,) = find_doubtful_labels(table(labels), scores)
    assert (finding.code, finding.severity, finding.count) == ("doubtful-labels", "info", 3)
    assert finding.records == tuple(f"{number:03d}.png" for number in wrong)
    assert finding.what == (
        "3 labels of 80 (3.8%) disagree with what a model says that was trained without the image; "
        f"about {expect_doubtful_share(scores):.1%} would if all were right, as hard cases; "
        "the most doubtful is 007.png."
    )
    assert finding.evidence is not None
    assert finding.evidence.value == pytest.approx(3 / 80)


def test_of_many_the_twenty_most_doubtful_are_named() -> None:
    truth = np.arange(400) % 2
    scores = np.where(truth == 1, 0.9, 0.1) + np.linspace(-0.05, 0.05, 400)
    labels = truth.copy()
    labels[:60] = 1 - labels[:60]
    (finding,) = find_doubtful_labels(table(labels), scores)
    assert finding.count == 60
    assert len(finding.records) == 20
    assert finding.records[0] == f"{rank_doubtful_labels(labels, scores)[0]:03d}.png"


def normal_scores(count: int, lift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the true probability of positive given one measurement: nobody could calibrate it better."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    measured = generator.normal(size=count) + lift * labels
    return labels, 1 / (1 + np.exp(-lift * (measured - lift / 2)))


def test_hard_cases_alone_are_no_warning() -> None:
    """An AUC of 0.80 with all labels right: a fifth is doubted, as many as are to be expected."""
    told = [
        find_doubtful_labels(table(labels), scores, seed=seed)[0]
        for seed in range(12)
        for labels, scores in [normal_scores(200, 1.19, seed)]
    ]
    assert sum(finding.severity == "warning" for finding in told) <= 1
    assert np.mean([finding.count for finding in told]) > 0.15 * 200
    (finding,) = [find for find in told if find.severity == "info"][:1]
    assert "would if all were right, as hard cases" in finding.what
    assert finding.evidence is not None
    assert "expected from hard cases alone" in finding.evidence.method


def test_labels_exchanged_at_random_are_a_warning() -> None:
    labels, scores = normal_scores(400, 3.0, 0)
    wrong = np.random.default_rng(1).choice(400, 48, replace=False)
    labels[wrong] = 1 - labels[wrong]
    (finding,) = find_doubtful_labels(table(labels), scores)
    assert finding.severity == "warning"
    assert "their pattern is that of wrong labels rather than of hard cases" in finding.what
    assert len(set(finding.records) & {f"{row:03d}.png" for row in wrong}) >= 18


def test_the_expected_share_is_that_of_labels_drawn_from_the_scores() -> None:
    """Scores of 0.9 and 0.1 are wrong in a tenth, and each of these is doubted."""
    scores = np.where(np.arange(400) % 2, 0.9, 0.1)
    assert expect_doubtful_share(scores) == pytest.approx(0.1, abs=0.01)
    assert expect_doubtful_share(scores, seed=1) != expect_doubtful_share(scores)
    assert expect_doubtful_share(np.zeros(10)) is None


def test_scores_that_agree_name_none() -> None:
    labels = np.arange(60) % 2
    assert find_doubtful_labels(table(labels), np.where(labels == 1, 0.9, 0.1) + np.arange(60) / 2000) == []


@pytest.mark.parametrize("kind", ["constant", "random", "turned"])
def test_a_model_that_tells_nothing_doubts_nothing(kind: str) -> None:
    labels = np.arange(60) % 2
    scores = {
        "constant": np.full(60, 0.3),
        "random": np.random.default_rng(1).random(60),
        "turned": np.where(labels == 1, 0.2, 0.7) + np.arange(60) / 2000,
    }[kind]
    assert find_doubtful_labels(table(labels), scores) == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_rare_label_warns_of_nothing(count: int) -> None:
    labels = np.zeros(40, int)
    labels[:count] = 1
    scores = np.random.default_rng(2).random(40)
    assert set(rank_doubtful_labels(labels, scores)) <= set(range(40))


def test_a_model_that_is_turned_round_is_an_error() -> None:
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(40) % 2, 2)
    scores = np.clip(0.5 - 0.2 * (labels - 0.5) + generator.normal(0, 0.1, 80), 0, 1)
    (finding,) = find_inverted_labels(table(labels, 2), scores)
    assert (finding.code, finding.severity, finding.count) == ("labels-look-inverted", "error", 80)
    assert finding.evidence is not None
    assert finding.evidence.value == pytest.approx(roc_auc_score(labels, scores))
    assert finding.evidence.high is not None
    assert finding.evidence.high < 0.5
    assert finding.evidence.method == "DeLong over patients, scale of log-odds"
    assert find_inverted_labels(table(labels, 2), 1 - scores) == []


@pytest.mark.parametrize("kind", ["constant", "random"])
def test_a_model_that_guesses_turns_no_label_round(kind: str) -> None:
    labels = np.arange(60) % 2
    scores = np.full(60, 0.7) if kind == "constant" else np.random.default_rng(1).random(60)
    assert find_inverted_labels(table(labels), scores) == []


def test_without_a_mistake_the_wrong_way_round_is_an_error_too() -> None:
    labels = np.arange(20) % 2
    (finding,) = find_inverted_labels(table(labels), 0.9 - 0.8 * labels)
    assert finding.code == "labels-look-inverted"
    assert "is 0.000, below 0.5" in finding.what
    assert find_inverted_labels(table(labels[:8]), 0.9 - 0.8 * labels[:8]) == []  # four patients a label
    assert find_inverted_labels(table(labels), 0.1 + 0.8 * labels) == []


def test_images_of_unknown_patients_count_as_one_each() -> None:
    """Sixty images without an id and an AUC of 0; taken as one patient they would be passed over."""
    labels = np.arange(60) % 2
    used = table(labels).assign(patient_id="")
    (finding,) = find_inverted_labels(used, 0.9 - 0.8 * labels)
    assert finding.code == "labels-look-inverted"
    # As the frames of two files they are two units, one a label: too few to say anything.
    assert find_inverted_labels(used, 0.9 - 0.8 * labels, linked=labels) == []
