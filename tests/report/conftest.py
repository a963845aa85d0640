"""A small run directory made from random numbers, in the form that runs leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from breastlens.config import ImageRecipe, TrainingRecipe

THRESHOLD = 0.41
NAMES = ("healthy", "sick")
INTERVAL_METRICS = ("accuracy", "balanced_accuracy", "auc", "average_precision", "sensitivity", "specificity")


def make_scores(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """y_true (count,) 0/1 and y_score (count,) in (0, 1)."""
    generator = np.random.default_rng(seed)
    y_true = (generator.random(count) < 0.4).astype(int)
    return y_true, score(y_true, generator)


def score(y_true: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Scores in (0, 1) of a model that tells the classes apart fairly well."""
    return (1 / (1 + np.exp(-generator.normal(1.6 * (2 * y_true - 1), 1.4)))).round(4)


def make_block(y_true: np.ndarray, y_score: np.ndarray, patients: int | None = None) -> dict[str, Any]:
    """A metrics block by scikit-learn, with nulls and reasons when a class is missing."""
    called = y_score >= THRESHOLD
    tn, fp = int(np.sum(~called & (y_true == 0))), int(np.sum(called & (y_true == 0)))
    fn, tp = int(np.sum(~called & (y_true == 1))), int(np.sum(called & (y_true == 1)))
    both = 0 < y_true.sum() < len(y_true)
    why = "no positive image in this part" if not y_true.sum() else "no negative image in this part"
    block: dict[str, Any] = {
        "n": len(y_true),
        "patients": patients if patients is not None else len(y_true),
        "positives": int(y_true.sum()),
        "negatives": int((1 - y_true).sum()),
        "threshold": THRESHOLD,
        "accuracy": (tn + tp) / len(y_true),
        "brier": float(np.mean((y_score - y_true) ** 2)),
        "sensitivity": tp / (tp + fn) if tp + fn else None,
        "specificity": tn / (tn + fp) if tn + fp else None,
        "ppv": tp / (tp + fp) if tp + fp else None,
        "npv": tn / (tn + fn) if tn + fn else None,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        "auc": None,
        "average_precision": None,
        "balanced_accuracy": None,
        "mcc": None,
        "confusion_matrix": [[tn, fp], [fn, tp]],
        "roc": None,
        "precision_recall": None,
        "reasons": {},
        "intervals": {},
        "by_patient": None,
    }
    if both:
        fpr, tpr, thresholds = roc_curve(y_true, y_score)
        precision, recall, pr_thresholds = precision_recall_curve(y_true, y_score)
        block |= {
            "auc": float(roc_auc_score(y_true, y_score)),
            "average_precision": float(average_precision_score(y_true, y_score)),
            "balanced_accuracy": (block["sensitivity"] + block["specificity"]) / 2,
            "mcc": 0.71,
            "roc": {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "thresholds": [None, *thresholds[1:].tolist()]},
            "precision_recall": {
                "precision": precision.tolist(),
                "recall": recall.tolist(),
                "thresholds": pr_thresholds.tolist(),
            },
        }
    for metric in INTERVAL_METRICS:
        if block[metric] is not None:
            value = block[metric]
            block["intervals"][metric] = {
                "value": value,
                "low": max(0.0, value - 0.05),
                "high": min(1.0, value + 0.04),
                "level": 0.95,
                "method": "DeLong over patients, scale of log-odds",
            }
    block["reasons"] = {
        name: why for name, value in block.items() if value is None and name not in ("by_patient",)
    }
    return block


def make_records(count: int, seed: int, names: tuple[str, str] = NAMES) -> pd.DataFrame:
    """Records with scores in columns y_true and y_score; two images a patient for the first third."""
    generator = np.random.default_rng(seed)
    y_true = (generator.random(count) < 0.4).astype(int)
    people = np.arange(count)
    people[: count // 3 * 2] //= 2
    y_true[: count // 3 * 2] = np.repeat(y_true[: count // 3], 2)
    y_score = score(y_true, generator)
    part = np.array(["train", "validation", "test"])[people % 3]
    return pd.DataFrame(
        {
            "path": [f"{names[label]}/img_{row:04d}.png" for row, label in enumerate(y_true)],
            "frame": 0,
            "category": np.array(names, dtype=object)[y_true],
            "label": y_true,
            "patient_id": [f"P{person:04d}" for person in people],
            "split": part,
            "image_size": "128x128",
            "width": generator.choice([640, 320], count),
            "height": 480,
            "format": np.where(y_true == 1, "PNG", "JPEG"),
            "bits": 8,
            "sha256": [f"{row:064x}" for row in range(count)],
            "pixels_sha256": [f"{row:064x}" for row in range(count)],
            "duplicate_group": "",
            "excluded": "",
            "window_low": 0.0,
            "window_high": 255.0,
            "crop_box": "",
            "y_true": y_true,
            "y_score": y_score,
        }
    )


def make_run(root: Path, *, kind: str = "holdout", names: tuple[str, str] = NAMES, seed: int = 5) -> Path:
    """Write a run directory of kind holdout, folds or external (no figures) and return its path."""
    root.mkdir(parents=True)
    records = make_records(180, seed, names)
    if kind == "folds":
        records["split"] = [str(int(person[1:]) % 5) for person in records["patient_id"]]
    if kind == "external":
        records["split"] = "external"
    excluded = records.head(3).assign(
        path=["broken.png", "twice/a.png", "twice/b.png"],
        split="",
        y_true=0,
        y_score=0.0,
        excluded=["truncated file", "same pixels under both categories", "same pixels under both categories"],
    )
    judged = records if kind != "holdout" else records[records["split"].isin(["validation", "test"])]
    predictions = judged[["path", "patient_id", "split", "y_true", "y_score"]].assign(
        y_pred=(judged["y_score"] >= THRESHOLD).astype(int)
    )
    predictions.to_csv(root / "predictions.csv", index=False)
    pd.concat([records, excluded]).drop(columns=["y_true", "y_score"]).to_csv(
        root / "records.csv", index=False
    )

    blocks: dict[str, Any] = {}
    titles = {"holdout": ["test", "validation"], "folds": ["out_of_fold"], "external": ["external"]}[kind]
    for title in titles:
        rows = judged[judged["split"] == title] if kind == "holdout" else judged
        people = rows.groupby("patient_id")[["y_true", "y_score"]].mean()
        blocks[title] = make_block(rows["y_true"].to_numpy(), rows["y_score"].to_numpy(), len(people))
        blocks[title]["by_patient"] = make_block(
            people["y_true"].round().to_numpy(int), people["y_score"].to_numpy()
        )
    (root / "metrics.json").write_text(json.dumps(blocks))

    recipe = TrainingRecipe(
        backbone="mobilenet:0.75", weights="mobilenet.h5", folds=5 if kind == "folds" else None
    )
    parts = [
        {
            "name": str(name), "images": len(rows), "patients": rows["patient_id"].nunique(),
            "positive": int(rows["label"].sum()), "negative": int((1 - rows["label"]).sum()),
        }
        for name, rows in records.groupby("split", sort=False)
    ]  # fmt: skip
    run = {
        "format": 1,
        "kind": "evaluation" if kind == "external" else "training",
        "status": "complete",
        "command": ["breastlens", "train", "my data", "--backbone", "mobilenet:0.75", "--out", "RUN"],
        "created": "2026-11-22T17:00:00+00:00",
        "recipe": recipe.model_dump(),
        "image": ImageRecipe().model_dump(),
        "labels": {"positive": [names[1]], "negative": [names[0]]},
        "backbone": {
            "name": "mobilenet:0.75",
            "title": "MobileNet (alpha 0.75)",
            "parameters": 1832976,
            "weights": "mobilenet_v1_alpha0.75_224_imagenet_notop.weights.h5",
            "weights_sha256": "ab12" * 16,
            "licence": "Apache-2.0",
            "paper": "Howard et al. 2017, arXiv:1704.04861",
        },
        "data": {
            "root": "dmr",
            "manifest": "manifest.csv",
            "fingerprint": "0f" * 32,
            "found": 183,
            "excluded": 3,
            "used": 180,
            "patients": records["patient_id"].nunique(),
            "images_without_patient": 0,
            "patient_source": "manifest",
        },
        "findings": [
            {
                "code": "duplicates-across-categories",
                "severity": "error",
                "count": 2,
                "what": "2 images have the same pixels and stand under both categories.",
                "records": ["twice/a.png", "twice/b.png"],
                "advice": "Find out which label is right.",
            },
            {
                "code": "format-by-category",
                "severity": "warning",
                "count": 180,
                "what": "The file format tells the categories apart.",
                "records": [],
                "advice": "Get both categories from one source.",
            },
        ],
        "split": {
            "kind": kind,
            "hash": "9c" * 32,
            "parts": parts,
            "proof": {
                "patients_checked": records["patient_id"].nunique(),
                "patients_shared": 0,
                "duplicate_groups_checked": 1,
                "duplicates_shared": 0,
                "files_checked": 0,
                "files_shared": 0,
            },
        },
        "operating_point": {
            "rule": "largest balanced accuracy",
            "threshold": THRESHOLD,
            "chosen_on": "validation",
        },
        "kept": "probe",
        "notes": ["Fine-tuning did not beat the probe on validation; the probe was kept."],
        "versions": {"breastlens": "0.1.0", "python": "3.11.2", "keras": "3.11.1", "numpy": "2.1.0"},
        "machine": {"processor": "x86_64", "cores": 2, "system": "Linux"},
        "phases": [
            {"name": "read", "wall_s": 1.23, "cpu_s": 2.02},
            {"name": "train", "wall_s": 61.5, "cpu_s": 118.0},
        ],
    }
    (root / "run.json").write_text(json.dumps(run))
    make_history().to_csv(root / "history.csv", index=False)
    return root


def make_history(folds: int = 1, *, epochs: int = 0, strengths: int = 7) -> pd.DataFrame:
    """Rows of history.csv: a search over strengths, epochs of fine-tuning, or both."""
    generator = np.random.default_rng(11)
    rows = []
    for fold in range(folds):
        name = fold if folds > 1 else None
        for step, strength in enumerate(10.0 ** np.arange(-4, -4 + strengths)):
            auc = 0.9 - 0.01 * (step - 3) ** 2 + generator.normal(0, 0.005)
            rows.append({"epoch": step, "phase": "probe", "fold": name, "strength": strength, "val_auc": auc})
        for epoch in range(epochs):
            fading = np.exp(-epoch / 4)
            rows.append(
                {
                    "epoch": epoch,
                    "phase": "finetune",
                    "fold": name,
                    "loss": 0.2 + 0.4 * fading,
                    "val_loss": 0.3 + 0.3 * fading + generator.normal(0, 0.01),
                    "auc": 1 - 0.2 * fading,
                    "val_auc": 0.95 - 0.15 * fading + generator.normal(0, 0.01),
                    "learning_rate": 1e-4,
                    "seconds": 2.0,
                }
            )
    columns = [
        "epoch",
        "phase",
        "fold",
        "loss",
        "auc",
        "val_loss",
        "val_auc",
        "learning_rate",
        "seconds",
        "strength",
    ]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def run_factory(tmp_path: Path) -> Callable[..., Path]:
    """Make run directories under the test's own folder: ``run_factory("name", kind="folds")``."""

    def make(name: str, **options: Any) -> Path:
        return make_run(tmp_path / name, **options)

    return make


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    """y_true and y_score of 140 images that a model tells apart fairly well."""
    return make_scores(140, seed=3)


@pytest.fixture
def block_factory() -> Callable[..., dict[str, Any]]:
    """Make a metrics block from y_true and y_score, by scikit-learn."""
    return make_block


@pytest.fixture
def history_factory() -> Callable[..., pd.DataFrame]:
    """Make the rows of history.csv."""
    return make_history
