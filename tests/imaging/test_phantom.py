"""The physics against closed forms and numerical solutions, the images against what was put into them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad, trapezoid
from scipy.linalg import solve_banded
from scipy.special import j0, k0

from breastlens.errors import RunDirectoryError
from breastlens.imaging.anatomy import Anatomy, Vessel, draw_anatomy
from breastlens.imaging.bioheat import (
    Tissue,
    surface_rise,
    tumour_metabolism,
    tumour_power,
    undisturbed_temperature,
)
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.imaging.thermogram import (
    HEIGHT_PX,
    MM_PER_PX,
    WIDTH_PX,
    Pose,
    draw_pose,
    simulate_temperature,
)

TISSUE = Tissue()
STILL = Pose((0.0, 0.0), scale=1.0, angle_deg=0.0, skin_offset_c=0.0, room_c=22.0, blur_px=0.8, noise_c=0.0)
CENTRE_PX = np.array([(WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bare(seed: int = 0) -> Anatomy:
    """A healthy body without any vessel."""
    body = draw_anatomy(rng(seed), sick=False)
    right, left = body.breasts
    return replace(body, breasts=(replace(right, vessels=()), replace(left, vessels=())), chest_vessels=())


def added(body: Anatomy, plain: Anatomy, pose: Pose = STILL) -> NDArray[np.float32]:
    """What one body's image has over another's of the same pose."""
    return simulate_temperature(body, pose, rng()) - simulate_temperature(plain, pose, rng())


# The bioheat equation


@pytest.mark.parametrize("depth_m", [0.003, 0.01, 0.03])
@pytest.mark.parametrize("distance_m", [0.0, 0.004, 0.02])
def test_point_source_equals_the_hankel_integral(depth_m: float, distance_m: float) -> None:
    inverse_length = 1 / TISSUE.diffusion_length_m
    loss = TISSUE.surface_loss_w_m2_k / TISSUE.conductivity_w_m_k

    def integrand(s: float) -> float:
        sigma = np.hypot(s, inverse_length)
        return float(np.exp(-depth_m * sigma) / (sigma + loss) * s * j0(s * distance_m))

    expected = quad(integrand, 0, 40 / depth_m, limit=500)[0] / (2 * np.pi * TISSUE.conductivity_w_m_k)
    assert surface_rise(np.array([distance_m]), depth_m, TISSUE)[0] == pytest.approx(expected, rel=1e-5)


def test_heat_through_the_skin_is_the_part_of_the_source_that_perfusion_leaves() -> None:
    radius = np.linspace(0, 0.6, 60_001)
    lost = TISSUE.surface_loss_w_m2_k * surface_rise(radius, 0.012, TISSUE) * 2 * np.pi * radius
    inverse_length = 1 / TISSUE.diffusion_length_m
    loss = TISSUE.surface_loss_w_m2_k / TISSUE.conductivity_w_m_k
    expected = np.exp(-0.012 * inverse_length) * loss / (inverse_length + loss)
    assert trapezoid(lost, radius) == pytest.approx(expected, rel=1e-4)


def test_insulated_skin_doubles_the_free_space_solution() -> None:
    insulated = Tissue(surface_loss_w_m2_k=1e-6)
    free = np.exp(-0.01 / insulated.diffusion_length_m) / (4 * np.pi * insulated.conductivity_w_m_k * 0.01)
    assert surface_rise(np.zeros(1), 0.01, insulated)[0] == pytest.approx(2 * free, rel=1e-4)


def test_sphere_agrees_with_finite_differences() -> None:
    diameter, perfusion, metabolism, around = 0.02, 0.012, 15_000.0, 35.0
    step = 2e-5
    radius = (np.arange(12_500) + 0.5) * step  # to 0.25 m, ten diffusion lengths
    inside = radius < diameter / 2
    sink = np.where(inside, perfusion, TISSUE.perfusion_1_s) * TISSUE.blood_heat_j_m3_k
    extra = (perfusion - TISSUE.perfusion_1_s) * TISSUE.blood_heat_j_m3_k * (TISSUE.arterial_c - around)
    heat = np.where(inside, metabolism + extra, 0.0)
    # Conservation over shells: conduction through both faces, perfusion and heat within.
    faces = (np.arange(12_501) * step) ** 2 * TISSUE.conductivity_w_m_k / step
    volume = radius**2 * step
    banded = np.zeros((3, radius.size))
    banded[0, 1:] = -faces[1:-1]
    banded[1] = faces[:-1] + faces[1:] + sink * volume
    banded[2, :-1] = -faces[1:-1]
    rise = solve_banded((1, 1), banded, heat * volume)
    power = tumour_power(diameter, perfusion, metabolism, around, TISSUE)
    outside = (radius > 0.011) & (radius < 0.05)
    point = (
        power * np.exp(-radius / TISSUE.diffusion_length_m) / (4 * np.pi * TISSUE.conductivity_w_m_k * radius)
    )
    np.testing.assert_allclose(rise[outside], point[outside], rtol=5e-3)


def test_sphere_of_ordinary_tissue_gives_its_metabolic_heat_alone() -> None:
    radius, inverse_length = 0.008, 1 / TISSUE.diffusion_length_m
    scaled = radius * inverse_length
    expected = 4 * np.pi * 2e4 * (scaled * np.cosh(scaled) - np.sinh(scaled)) / inverse_length**3
    power = tumour_power(2 * radius, TISSUE.perfusion_1_s, 2e4, 35.0, TISSUE)
    assert power == pytest.approx(expected, rel=1e-9)
    assert tumour_power(2 * radius, TISSUE.perfusion_1_s, 0.0, 35.0, TISSUE) == 0.0


def test_metabolic_heat_follows_gautherie() -> None:
    assert tumour_metabolism(0.01) == pytest.approx(65_400)
    assert tumour_metabolism(0.02) == pytest.approx(3.27e6 / (50 + np.log(2) / 0.002134))
    assert tumour_metabolism(0.005) == pytest.approx(65_400)


def test_undisturbed_tissue_goes_from_skin_to_blood() -> None:
    assert undisturbed_temperature(0.0, 33.0, TISSUE) == pytest.approx(33.0)
    assert undisturbed_temperature(TISSUE.diffusion_length_m, 33.0, TISSUE) == pytest.approx(37 - 4 / np.e)


# What an image shows


def test_a_straight_vessel_warms_the_skin_as_a_line_source() -> None:
    body = replace(bare(), tissue=Tissue(surface_loss_w_m2_k=1e-6, arterial_c=1e4))
    x_mm = np.arange(-150.0, 151.0)
    vessel = Vessel(np.column_stack([x_mm, np.zeros(x_mm.size)]), depth_mm=6.0, power_w_m=0.02)
    rise = added(replace(body, chest_vessels=(vessel,)), body)
    distance_mm = (np.arange(HEIGHT_PX) - CENTRE_PX[1]) * MM_PER_PX
    depth = np.hypot(distance_mm, 6.0) * 1e-3 / body.tissue.diffusion_length_m
    expected = 0.02 / (np.pi * body.tissue.conductivity_w_m_k) * k0(depth)
    near = np.abs(distance_mm) < 20
    np.testing.assert_allclose(rise[near, WIDTH_PX // 2], expected[near], rtol=0.04)


def test_a_tumour_shows_where_and_as_warm_as_the_manifest_says() -> None:
    sick = draw_anatomy(rng(3), sick=True)
    assert sick.tumour is not None
    sick = replace(sick, tumour=replace(sick.tumour, vessels=()))
    pose = replace(STILL, shift_mm=(9.0, -6.0), scale=1.05, angle_deg=3.0)
    rise = added(sick, replace(sick, tumour=None), pose)
    row, column = np.unravel_index(np.argmax(rise), rise.shape)
    turn = np.deg2rad(3.0)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * 1.05 / MM_PER_PX
    place = matrix @ np.array([sick.tumour.x_mm + 9.0, sick.tumour.y_mm - 6.0]) + CENTRE_PX
    assert abs(column - place[0]) <= 4
    assert abs(row - place[1]) <= 4
    assert 0.2 < rise.max() < 3.0


def test_a_tumour_changes_nothing_but_adds_heat_near_itself() -> None:
    for seed in range(5):
        sick, healthy = draw_anatomy(rng(seed), sick=True), draw_anatomy(rng(seed), sick=False)
        assert np.array_equal(sick.outline_mm, healthy.outline_mm)
        assert sick.breasts[0].cooling_c == healthy.breasts[0].cooling_c
        rise = added(sick, healthy)
        assert rise.min() > -1e-3
        assert rise.max() > 0.5
        ring = np.ones(rise.shape, bool)
        ring[30:-30, 40:-40] = False  # 8 pixels of 128
        assert rise[ring].mean() < 0.01


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sick=st.booleans())
def test_any_seed_gives_a_body_in_a_room(seed: int, sick: bool) -> None:
    generator = rng(seed)
    image = simulate_temperature(draw_anatomy(generator, sick=sick), draw_pose(generator), generator)
    assert image.shape == (480, 640)
    assert image.dtype == np.float32
    assert 20.0 < image.min() < 22.5
    assert 33.0 < image.max() < 37.5  # no warmer than the blood and the noise
    assert 0.5 < (image > 27.0).mean() < 0.95
    assert (image[240:, 300:340] > 29.0).all()  # the middle of the trunk is body, whatever the pose


def test_the_skin_only_approaches_the_blood() -> None:
    body = bare()
    x_mm = np.arange(-100.0, 101.0)
    vessel = Vessel(np.column_stack([x_mm, np.full(x_mm.size, 100.0)]), depth_mm=2.5, power_w_m=100.0)
    image = simulate_temperature(replace(body, chest_vessels=(vessel,)), STILL, rng())
    assert 36.5 < image.max() <= 37.0 + 1e-4


def test_noise_is_as_large_as_said() -> None:
    body = draw_anatomy(rng(1), sick=False)
    noisy = simulate_temperature(body, replace(STILL, noise_c=0.07), rng(5))
    difference = noisy - simulate_temperature(body, STILL, rng(5))
    assert difference.std() == pytest.approx(0.07, rel=0.01)
    assert abs(difference.mean()) < 0.001


# The cohort on disk


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_cohort_has_the_promised_files_and_rows(tmp_path: Path) -> None:
    manifest = write_cohort(
        tmp_path / "cohort", PhantomSettings(patients=5, images_per_patient=2, positive_fraction=0.4)
    )
    assert manifest == tmp_path / "cohort" / "manifest.csv"
    table = pd.read_csv(manifest)
    files = {name for name in read_all(tmp_path / "cohort") if name != "manifest.csv"}
    assert set(table["path"]) == files
    assert len(table) == 10
    assert table.groupby("category")["patient_id"].nunique().to_dict() == {"healthy": 3, "sick": 2}
    assert (table["path"].str.split("/").str[0] == table["category"]).all()
    assert set(table["view"]) == {"frontal"}
    sick = table[table["category"] == "sick"]
    assert sick.filter(like="tumour_").notna().all(axis=None)
    assert table[table["category"] == "healthy"].filter(like="tumour_").isna().all(axis=None)
    right = sick["tumour_side"] == "right"
    assert (right == (sick["tumour_x_px"] < WIDTH_PX / 2)).all()  # the patient faces the camera
    assert (sick["tumour_depth_mm"] > sick["tumour_diameter_mm"] / 2).all()
    # in a half space without perfusion or loss half the rise is reached at sqrt(3) times the depth
    reach_mm = sick["tumour_reach_px"] * MM_PER_PX
    assert reach_mm.between(0.5 * sick["tumour_depth_mm"], np.sqrt(3) * sick["tumour_depth_mm"]).all()
    for path in table["path"]:
        image = cv2.imread(str(tmp_path / "cohort" / path), cv2.IMREAD_UNCHANGED)
        assert image is not None
        assert (image.shape, image.dtype) == ((480, 640), np.uint8)


def test_same_seed_same_bytes_and_images_stand_alone(tmp_path: Path) -> None:
    one = PhantomSettings(patients=2, images_per_patient=2, seed=4)
    for name, simulated in {
        "a": one,
        "b": one,
        "fewer": one.model_copy(update={"images_per_patient": 1}),
        "other": one.model_copy(update={"seed": 5}),
    }.items():
        write_cohort(tmp_path / name, simulated)
    first, fewer, other = (read_all(tmp_path / name) for name in ("a", "fewer", "other"))
    assert first == read_all(tmp_path / "b")
    assert len(set(first.values())) == len(first)
    images = [name for name in fewer if name != "manifest.csv"]
    assert images
    assert all(fewer[name] == first[name] for name in images)
    assert not set(other.values()) & set(first.values())


def test_matrix_and_png_are_the_same_temperatures(tmp_path: Path) -> None:
    simulated = PhantomSettings(patients=2, images_per_patient=1)
    write_cohort(tmp_path / "png", simulated)
    write_cohort(tmp_path / "matrix", simulated.model_copy(update={"file_format": "matrix"}))
    texts = sorted((tmp_path / "matrix").rglob("*.txt"))
    assert len(texts) == 2
    for text in texts:
        temperature = np.loadtxt(text)
        assert temperature.shape == (480, 640)
        png = tmp_path / "png" / text.relative_to(tmp_path / "matrix").with_suffix(".png")
        grey = cv2.imread(str(png), cv2.IMREAD_UNCHANGED)
        assert grey is not None
        assert np.abs(grey - (temperature - 20.0) / 18.0 * 255.0).max() <= 0.5 + 0.005 / 18.0 * 255.0 + 1e-3


def test_every_cohort_has_both_categories(tmp_path: Path) -> None:
    for name, fraction in (("few", 0.01), ("many", 0.99)):
        manifest = write_cohort(
            tmp_path / name, PhantomSettings(patients=2, images_per_patient=1, positive_fraction=fraction)
        )
        assert sorted(pd.read_csv(manifest)["category"]) == ["healthy", "sick"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="expected a new or empty folder"):
        write_cohort(tmp_path, PhantomSettings(patients=2))
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunDirectoryError, match="expected a new or empty folder"):
        write_cohort(tmp_path / "file", PhantomSettings(patients=2))
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        write_cohort(tmp_path / "file" / "below", PhantomSettings(patients=2))


@pytest.mark.slow
def test_the_classes_differ_in_the_breast_and_nowhere_else(tmp_path: Path) -> None:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    manifest = write_cohort(tmp_path / "cohort", PhantomSettings(patients=120, images_per_patient=1, seed=11))
    table = pd.read_csv(manifest)
    sick = (table["category"] == "sick").to_numpy()
    images = [cv2.imread(str(manifest.parent / path), cv2.IMREAD_UNCHANGED) for path in table["path"]]
    small = np.stack([cv2.resize(i, (64, 64), interpolation=cv2.INTER_AREA) for i in images if i is not None])
    ring = np.ones((64, 64), bool)
    ring[4:-4, 4:-4] = False
    flat = small.reshape(len(small), -1).astype(float)
    statistics = np.column_stack(
        [flat.mean(1), flat.std(1), *np.percentile(flat, [1, 5, 25, 50, 75, 95, 99], axis=1)]
    )

    def auc(features: NDArray[np.float64]) -> float:
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(0, 6, 13)))
        parts = StratifiedKFold(5, shuffle=True, random_state=0)
        return float(
            roc_auc_score(
                sick, cross_val_predict(model, features, sick, cv=parts, method="decision_function")
            )
        )

    assert auc(flat) > 0.8
    assert auc(small[:, ring].astype(float)) < 0.65  # chance, with the spread that 120 patients leave
    assert auc(statistics) < 0.75
