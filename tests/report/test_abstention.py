"""The section of when a model does not answer: its figures, its promises, and what it must not promise."""

import json

import numpy as np
import pytest

from breastlens.errors import RunDirectoryError
from breastlens.evaluation.selective import risk_coverage
from breastlens.report.abstention import abstention_section
from breastlens.report.abstention_figures import draw_distances, draw_risk_coverage
from breastlens.report.page import write_report
from breastlens.report.run_files import read_run_files


def interval(value):
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "level": 0.95, "method": "BCa"}


SETS = {
    "n": 40,
    "sets": {"negative": 20, "positive": 12, "both": 7, "none": 1},
    "answered": 0.8,
    "right": 0.9375,
    "intervals": {"answered": interval(0.8), "right": interval(0.9375)},
    "coverage": interval(0.9),
    "coverage_negative": interval(0.91),
    "coverage_positive": {"value": 0.875, "low": None, "high": None, "reason": "few"},
}
METRICS = {
    "abstention": {
        "coverage": 0.9,
        "chosen_on": "the validation part",
        "images": SETS,
        "patients": None,
        "risk_coverage": {"area": 0.021, "area_at_best": 0.011, "area_at_random": 0.1},
    },
    "novelty": {
        "method": "neighbours",
        "threshold": 1.25,
        "false_alarms": 0.05,
        "asked_false_alarms": 0.05,
        "images": 40,
        "refused": 6,
        "corruptions": {"upside down": {"auc": 0.953, "refused": 0.78, "images": 32}},
    },
}


def write(directory, change=lambda metrics: None):
    """Puts the figures into a run; ``change`` may alter them first."""
    path = directory / "metrics.json"
    metrics = json.loads(path.read_text()) | json.loads(json.dumps(METRICS))
    change(metrics)
    path.write_text(json.dumps(metrics))
    return directory


@pytest.mark.parametrize("kind", ["holdout", "folds", "external"])
@pytest.mark.parametrize("crossed", [False, True])
def test_what_is_promised_depends_on_what_chose_the_limits(run_factory, kind, crossed):
    def choose(metrics):
        if crossed:
            metrics["abstention"]["chosen_on"] = "out-of-fold scores and distances"

    section = abstention_section(read_run_files(write(run_factory("run", kind=kind), choose)))
    assert ("at least 90% of the sets" in section.guarantee) == (not crossed)
    assert ("not guaranteed exactly" in section.guarantee) == crossed
    assert ("from the other folds" in section.guarantee) == (kind == "folds")
    assert ("Nothing is promised for patients from elsewhere" in section.guarantee) == (kind == "external")
    assert ("more than twice as many" in section.refused) == (kind == "external")


def test_the_page_has_every_figure_of_the_section(run_factory):
    page = write_report(write(run_factory("run"))).read_text(encoding="utf-8")
    for said in (
        "When it does not answer", "0.850 to 0.950", "0.875<small>no interval", "0.938", "By image (40)",
        "0.800<small>0.750 to 0.850", "Refused were 6 of 40 images (15.0%)", "0.953", "0.780", "1.25", "0.021", "0.100",
    ):  # fmt: skip
        assert said in page, said


def test_coverage_below_what_was_asked_is_told(run_factory):
    interval = {"value": 0.65, "low": 0.43, "high": 0.82, "level": 0.95}

    def lower(metrics):
        metrics["abstention"]["patients"] = metrics["abstention"]["images"] | {"coverage_negative": interval}

    files = read_run_files(write(run_factory("low"), lower))
    names = files.facts.labels
    said = f"among the images that are {names.positive_name}, the patients that are {names.negative_name}, the patients"
    assert said in abstention_section(files).guarantee

    def reach(metrics):
        for name in ("coverage", "coverage_negative", "coverage_positive"):
            metrics["abstention"]["images"][name] = {"value": 0.91, "low": 0.85, "high": 0.95}

    section = abstention_section(read_run_files(write(run_factory("kept"), reach)))
    assert "lower than asked" not in section.guarantee


def test_fewer_promises_than_were_asked_are_told(run_factory):
    directory = write(run_factory("run"), lambda metrics: metrics["novelty"].update(false_alarms=0.1))
    section = abstention_section(read_run_files(directory))
    assert "10.0% of images of new patients" in section.novelty
    assert "5.0% was asked for; too few patients were held out" in section.novelty


def test_a_run_without_limits_has_no_section_and_a_damaged_one_is_named(run_factory):
    plain = run_factory("plain")
    assert abstention_section(read_run_files(plain)) is None
    assert "When it does not answer" not in write_report(plain).read_text(encoding="utf-8")
    damaged = write(run_factory("damaged"), lambda metrics: metrics["novelty"].pop("threshold"))
    with pytest.raises(RunDirectoryError, match="not what this version reads: threshold"):
        abstention_section(read_run_files(damaged))


def test_both_figures_are_drawn(tmp_path):
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 90), random.random(90)
    draw_risk_coverage(risk_coverage(labels, scores, 0.5), tmp_path / "risk.png")
    draw_distances(
        np.r_[random.normal(size=88), 40.0, 500.0], labels, 2.5, ("healthy", "sick"), tmp_path / "far.png"
    )
    for name in ("risk.png", "far.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
