"""Damaged and hostile images through the running service; ``benchmarks/fuzz_service.py`` sends very many more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from breastlens.serve.answers import PredictionsAnswer

IMAGES = 200
TOGETHER = 5


@pytest.fixture(scope="module")
def hostile(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    """What makes and damages the images."""
    return load_benchmark("hostile_images")


def test_damaged_images_are_scored_or_told_of_and_disturb_nobody(
    hostile: ModuleType, client: httpx.Client, awkward_dir: Path
) -> None:
    samples = hostile.make_samples()
    image = min((awkward_dir / "healthy").glob("P*.png")).read_bytes()
    before, lost = ask(client, [("a.png", image)])[0], decoders_lost(client)
    found: Counter[str] = Counter()
    for begin in range(0, IMAGES, TOGETHER):
        sent = [hostile.damaged(samples, 0, number) for number in range(begin, begin + TOGETHER)]
        for answer in ask(client, [(f"x{one.suffix}", one.data) for one in sent]):
            assert (answer["problem"] is None) != (answer["y_score"] is None)
            found["scored" if answer["problem"] is None else "unreadable"] += 1
    assert min(found["scored"], found["unreadable"]) > IMAGES / 10
    assert decoders_lost(client) == lost
    assert ask(client, [("a.png", image)])[0] == before


def test_whole_ones_are_all_scored(hostile: ModuleType, client: httpx.Client) -> None:
    """Else what is damaged would be refused for another reason."""
    samples = hostile.make_samples(seed=1)
    answers = [
        one
        for begin in range(0, len(samples), 50)
        for one in ask(client, [(f"x{one.suffix}", one.data) for one in samples[begin : begin + 50]])
    ]
    assert [
        (one.format, answer["problem"])
        for one, answer in zip(samples, answers, strict=True)
        if answer["problem"] is not None
    ] == []


def test_a_number_names_an_image(hostile: ModuleType) -> None:
    first, second = hostile.make_samples(), hostile.make_samples()
    assert first == second
    images = [hostile.damaged(first, 3, number) for number in range(300)]
    assert images == [hostile.damaged(second, 3, number) for number in range(300)]
    assert images[0] != hostile.damaged(first, 4, 0)
    assert {image.format for image in images} == {sample.format for sample in first}
    assert {name for image in images for name in image.damage} == set(dict(hostile.MUTATIONS))


def ask(client: httpx.Client, files: list[tuple[str, bytes]]) -> list[dict[str, object]]:
    answer = client.post("/v1/predictions", files=[("files", file) for file in files])
    assert answer.status_code == 200, answer.text
    found = answer.json()
    PredictionsAnswer.model_validate(found)
    predictions: list[dict[str, object]] = found["predictions"]
    return predictions


def decoders_lost(client: httpx.Client) -> float:
    [count] = re.findall(r"^breastlens_decoders_lost_total (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(count)
