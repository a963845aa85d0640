from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from breastlens.cohort import Cohort
from breastlens.runs.facts import describe_data


def test_images_without_a_patient_are_counted_among_those_used(tmp_path: Path) -> None:
    rows = [("a", "h", "A", ""), ("b", "h", "", ""), ("c", "s", "", ""), ("d", "s", "", "blurred")]
    for number, (name, *_) in enumerate(rows):
        pixels = np.random.default_rng(number).integers(0, 255, (9, 12)).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    lines = [f"{name}.png,{category},{patient},{flaw}" for name, category, patient, flaw in rows]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["path,category,patient_id,flaw", *lines]))
    data = describe_data(Cohort.read(tmp_path, manifest=manifest, positive="s", exclude_when="flaw"))
    assert (data["used"], data["patients"], data["images_without_patient"]) == (3, 1, 2)
    assert data["patient_source"] == "manifest"
