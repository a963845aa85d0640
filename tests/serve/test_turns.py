"""Clients take turns: who has much waiting holds up nobody who has little."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breastlens.serve.limits import ServiceLimits
from breastlens.serve.measures import Measures
from breastlens.serve.models import ModelSource, load_model
from breastlens.serve.pipeline import Asked, Pipeline
from breastlens.serve.problems import ProblemError
from breastlens.serve.service import Gate
from breastlens.serve.turns import Turns
from breastlens.serve.uploads import UploadedFile


def taken(turns: Turns[str]) -> list[str]:
    turns.end()
    return [one for part in iter(turns.take, []) for one in part]


def test_a_client_is_behind_one_thing_of_each_other() -> None:
    turns: Turns[str] = Turns()
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.put(name[0], name)
    assert taken(turns) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_comes_again_waits_for_its_next_turn() -> None:
    turns: Turns[str] = Turns()
    for name in ("a1", "a2", "a3", "b1"):
        turns.put(name[0], name)
    assert turns.take(2) == ["a1", "b1"]
    turns.put("b", "b2")
    assert taken(turns) == ["a2", "b2", "a3"]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(1, 5))
def test_nothing_is_lost_and_each_client_is_served_in_order(clients: list[str], most: int) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number, client in enumerate(clients):
        turns.put(client, (client, number))
    turns.end()
    found = [one for part in iter(lambda: turns.take(most), []) for one in part]
    assert sorted(number for _, number in found) == list(range(len(clients)))
    for client in set(clients):
        own = [number for name, number in found if name == client]
        assert own == sorted(own)
        before = [name for name, _ in found[: [name for name, _ in found].index(client)]]
        assert len(before) == len(set(before)), (
            "one thing of each other at most stands before a client's first"
        )


def test_who_waits_is_told_of_what_comes_and_of_the_end() -> None:
    turns: Turns[str] = Turns()
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(turns.take())) for _ in range(3)]
    for thread in threads:
        thread.start()
    turns.put("a", "a1")
    turns.put("a", "a2")
    turns.end()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [[], ["a1"], ["a2"]]


def test_one_image_is_answered_before_what_another_client_sent_earlier(bundle: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()
    model = load_model(ModelSource("a", bundle))
    order: list[str] = []

    def note(client: str, _: object) -> None:
        order.append(client)

    async def run() -> None:
        pipeline = Pipeline(1, ServiceLimits(), Measures())
        await asyncio.to_thread(pipeline.start)
        futures = []
        files = [UploadedFile(bytearray(data), ".png") for _ in range(21)]
        for place, (client, file) in enumerate(zip("m" * 20 + "1", files, strict=True)):
            future = pipeline.submit(model, place, file, Asked(), client)
            future.add_done_callback(partial(note, client))
            futures.append(future)
        await asyncio.wait_for(asyncio.gather(*futures), 60)
        await asyncio.to_thread(pipeline.stop)

    asyncio.run(run())
    assert len(order) == 21
    assert order.index("1") < 10, "some were with the decoder already or had their turn, not all"


def test_the_last_places_and_bytes_are_for_who_has_one_request() -> None:
    gate = Gate(ServiceLimits(waiting=8, receiving=16, held_bytes=80), Measures())
    with gate.enter("many") as first, gate.enter("many") as second:
        first.hold(70)
        for _ in range(7):
            gate.working += 1
        with pytest.raises(ProblemError):
            second.work()
        with pytest.raises(ProblemError):
            second.hold(1)
        with gate.enter("one") as one:
            one.work()
            one.hold(10)
            with pytest.raises(ProblemError):
                one.hold(1)
        gate.working -= 7
    assert (gate.requests, gate.working, gate.held_bytes) == (0, 0, 0)
