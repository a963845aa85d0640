"""`--on PLACE` where there is no such place: told in a line before anything is read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from breastlens.runs.directory import Run


@pytest.fixture(params=["train", "predict", "audit"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[object, ...]:
    """A command whose images are not there: if they were looked at first, that would be told."""
    if request.param == "predict":
        model: Run = request.getfixturevalue("holdout_run")
        return "predict", model.directory, tmp_path / "nowhere", "--out", tmp_path / "scores.csv"
    pytest.importorskip("keras")
    return request.param, tmp_path / "nowhere", "--weights", "none", "--out", tmp_path / "out"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_does_not_answer_is_told_at_once(
    run: Callable[..., str], asked: tuple[object, ...], tmp_path: Path, address: str
) -> None:
    pytest.importorskip("ray")
    said = run(*asked, "--on", f"ray:{address}")
    assert said.startswith(f"--on ray:{address}: no Ray cluster answers there (")
    assert list(tmp_path.iterdir()) == []


def test_no_cluster_to_be_found_is_told_at_once(
    run: Callable[..., str], asked: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")

    def find_none(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", find_none)  # one of another test may be running
    said = run(*asked, "--on", "ray:auto")
    assert said == "--on ray:auto: no Ray cluster answers there (Could not find any running Ray instance.)"


@pytest.mark.parametrize("place", ["ray", "ray:auto", "ray:127.0.0.1:9"])
def test_without_ray_is_told_what_to_install(
    run: Callable[..., str], asked: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "--on ray needs Ray, which is not installed: pip install 'breastlens[cluster]'" in run(
        *asked, "--on", place
    )


@pytest.mark.parametrize("place", ["there", "processes:0", "ray:"])
def test_a_place_that_nobody_knows_is_told(
    run: Callable[..., str], asked: tuple[object, ...], place: str
) -> None:
    assert run(*asked, "--on", place).startswith(
        "--on takes here, processes, processes:N, ray or ray:ADDRESS"
    )
