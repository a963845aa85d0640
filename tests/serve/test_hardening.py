"""What an unkind client, a careless copy or a hostile model could do, and that it does not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from breastlens.config import ImageRecipe
from breastlens.errors import BundleError
from breastlens.imaging.decode import decode
from breastlens.imaging.preprocess import preprocess
from breastlens.inference.activation_map import Explanation
from breastlens.inference.map_picture import colour_limit, paint
from breastlens.inference.plain_arrays import read_arrays
from breastlens.serve.app import create_app
from breastlens.serve.decoding import Decoder
from breastlens.serve.front import Rules
from breastlens.serve.limits import ServiceLimits
from breastlens.serve.measures import Measures
from breastlens.serve.models import ModelSource, ModelTable, load_model
from breastlens.serve.pictures import encode_layer
from breastlens.serve.pipeline import Asked, Pipeline
from breastlens.serve.problems import ProblemError
from breastlens.serve.protocol import BODY_AFTER_ANSWER_S
from breastlens.serve.service import Gate, Service
from breastlens.serve.tokens import RateLimiter
from breastlens.serve.uploads import UploadedFile

from .conftest import RunningService


@pytest.fixture(scope="module")
def image(phantom_dir: Path) -> bytes:
    return next((phantom_dir / "sick").glob("*.png")).read_bytes()


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "breast"))


def post(url: str, *images: bytes, **query: object) -> httpx.Response:
    files = [("files", ("x.png", data)) for data in images]
    return httpx.post(f"{url}/v1/predictions", files=files, params=query, timeout=60)  # type: ignore[arg-type]


def test_a_model_that_is_overwritten_or_removed_in_its_place_goes_on_as_it_was(
    start_service: Callable[..., RunningService], copy: Path, image: bytes
) -> None:
    service = start_service(copy)
    before = post(service.url, image).json()["predictions"][0]["y_score"]
    weights = copy / "model.bin"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.write(b"\0" * size)
    assert post(service.url, image).json()["predictions"][0]["y_score"] == before
    os.truncate(weights, 0)
    assert post(service.url, image).json()["predictions"][0]["y_score"] == before
    shutil.rmtree(copy)
    assert post(service.url, image).json()["predictions"][0]["y_score"] == before
    assert service.end() == 0


def test_nothing_is_imported_from_the_folder_it_is_started_in(
    image: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pydantic", "cv2", "pydicom", "numpy"):
        (tmp_path / f"{name}.py").write_text(
            "import pathlib; pathlib.Path('/tmp/taken-over').touch(); raise SystemExit"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "token")
    decoder = Decoder(ServiceLimits())
    decoder.wait_until_ready()
    assert decoder.decode(image, ".png", ImageRecipe(image_size=64)).format == "PNG"
    environment = Path(f"/proc/{decoder.process.pid}/environ")
    if environment.exists():
        assert b"SECRET" not in environment.read_bytes()
    decoder.end()
    assert not Path("/tmp/taken-over").exists()


def test_a_decoder_is_not_ended_by_what_is_meant_for_the_service(image: bytes) -> None:
    decoder = Decoder(ServiceLimits())
    decoder.wait_until_ready()
    process = decoder.process
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process.pid, number)
    time.sleep(0.1)
    decoder.decode(image, ".png", ImageRecipe(image_size=64))
    assert decoder.process is process
    decoder.end()


def test_a_decoder_that_died_while_idle_costs_no_image(image: bytes) -> None:
    lost: list[int] = []
    decoder = Decoder(ServiceLimits(), on_lost=lambda: lost.append(1))
    decoder.wait_until_ready()
    decoder.process.kill()
    decoder.process.wait()
    assert decoder.decode(image, ".png", ImageRecipe(image_size=64)).format == "PNG"
    assert lost == [1]
    decoder.end()


def test_what_waits_when_the_service_ends_is_told_at_once(bundle: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4000, 4000, 3), dtype=np.uint8)
    slow = cv2.imencode(".png", noise)[1].tobytes()
    model = load_model(ModelSource("a", bundle))

    async def run() -> list[object]:
        pipeline = Pipeline(1, ServiceLimits(), Measures())
        await asyncio.to_thread(pipeline.start)
        files = [UploadedFile(bytearray(slow), ".png") for _ in range(40)]
        futures = [pipeline.submit(model, place, file, Asked(), "a") for place, file in enumerate(files)]
        await asyncio.sleep(0.5)
        stopping = asyncio.create_task(asyncio.to_thread(pipeline.stop))
        answers = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 60)
        await stopping
        return list(answers)

    answers = asyncio.run(run())
    told = [one for one in answers if isinstance(one, ProblemError)]
    assert len(told) >= 30
    assert {one.kind for one in told} == {"busy"}
    assert not [thread for thread in threading.enumerate() if thread.name == "breastlens-serve"]


def test_one_file_that_is_too_large_or_fails_takes_no_other_along(
    start_service: Callable[..., RunningService], bundle: Path, image: bytes
) -> None:
    service = start_service(bundle, "--max-file", 1)
    found = post(service.url, image, b"x" * (2**20 + 1), image).json()["predictions"]
    assert [one["problem"] and one["problem"]["status"] for one in found] == [None, 413, None]
    assert found[0]["y_score"] == found[2]["y_score"] is not None
    assert post(service.url, *[image] * 33, map=True).status_code == 413
    assert service.end() == 0


def test_an_answer_that_is_not_taken_counts_until_it_is(service: RunningService, image: bytes) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()
    request = httpx.Request(
        "POST",
        f"{service.url}/v1/predictions?map=true",
        files=[("files", ("x.png", data)) for _ in range(6)],
    )
    request.read()
    head = f"POST /v1/predictions?map=true HTTP/1.1\r\nHost: {request.url.netloc.decode()}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request.headers.items() if name != "host")
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.sendall(head.encode() + b"\r\n" + request.content)
        _wait_for(lambda: _in_flight(service) == 1)
        time.sleep(2)
        assert _in_flight(service) == 1
    _wait_for(lambda: _in_flight(service) == 0)


def test_fields_behind_a_chunked_body_end_the_connection(service: RunningService) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    head = f"POST /healthz HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".encode()
    with (
        socket.create_connection((host, int(port)), timeout=60) as endless,
        pytest.raises((BrokenPipeError, ConnectionResetError)),
    ):
        endless.sendall(head + b"a: b\r\n" * 10_000_000)


def test_a_body_that_goes_on_behind_its_answer_ends_the_connection(service: RunningService) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    head = f"POST /healthz HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=60) as endless:
        endless.sendall(head)
        assert endless.recv(4096).startswith(b"HTTP/1.1 405 ")
        _wait_for(lambda: not _takes(endless))


def test_a_body_that_comes_soon_behind_its_answer_keeps_the_connection(service: RunningService) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    head = f"POST /healthz HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for pause_s in (0, BODY_AFTER_ANSWER_S + 0.5, 0):
            connection.sendall(head)
            told = b""
            while b"request_id" not in told:
                told += connection.recv(4096)
            assert told.startswith(b"HTTP/1.1 405 ")
            connection.sendall(b"body")
            time.sleep(pause_s)


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\1\2\r\n\r\n"])
def test_what_is_no_http_is_told_as_a_problem(service: RunningService, sent: bytes) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(sent)
        told = b""
        while piece := connection.recv(4096):
            told += piece
    assert told.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in told


def test_a_boundary_of_any_length_is_a_problem_of_the_client(service: RunningService) -> None:
    headers = {"content-type": f"multipart/form-data; boundary={'b' * 50_000}"}
    assert httpx.post(f"{service.url}/v1/predictions", headers=headers, content=b"x").status_code == 400


def test_a_failure_inside_is_a_problem_without_its_words(
    bundle: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        names = property(lambda self: [][1])

    limits, measures = ServiceLimits(), Measures()
    service = Service(Failing(), None, limits, measures)  # type: ignore[arg-type]
    app = create_app(service, Rules(None, RateLimiter(None), (), ()))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://me") as client:
            return await client.get("/v1/models")

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] in caplog.text
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_a_model_of_any_kind_of_damage_is_refused_and_the_old_one_goes_on(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = ModelTable([ModelSource("a", copy)])
    old = table.get("a")
    (copy / "figures.json").write_text("[" * 200_000)
    assert asyncio.run(table.refresh()) == ["a"]
    shown = table.get("a")
    assert shown is not None
    assert shown is not old
    assert shown.figures is None
    (copy / "figures.json").write_text('{"verdict": NaN}')
    asyncio.run(table.refresh())
    assert table.get("a").figures is None  # type: ignore[union-attr]
    card = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(card | {"files": {}}))
    assert asyncio.run(table.refresh()) == []
    assert "is not used" in caplog.text
    (copy / "bundle.json").write_text(json.dumps(card | {"threshold": 0.5}))
    assert asyncio.run(table.refresh()) == ["a"]


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(10**7))
    assert (tmp_path / "bomb.npz").stat().st_size < 10**5
    with pytest.raises(ValueError, match="is compressed"):
        read_arrays(tmp_path / "bomb.npz", ["a"])
    np.savez(tmp_path / "plain.npz", a=np.arange(3), b=np.arange(2))
    assert read_arrays(tmp_path / "plain.npz", ["a"])["a"].tolist() == [0, 1, 2]


def test_a_bomb_as_reference_is_refused_when_the_model_is_loaded(copy: Path) -> None:
    import hashlib

    with np.load(copy / "reference.npz") as found:
        arrays = dict(found)
    np.savez_compressed(copy / "reference.npz", **arrays)
    card = json.loads((copy / "bundle.json").read_text())
    card["files"]["reference.npz"] = hashlib.sha256((copy / "reference.npz").read_bytes()).hexdigest()
    (copy / "bundle.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="is compressed"):
        load_model(ModelSource("a", copy))


def test_the_gate_counts_what_arrives_apart_from_what_is_worked_on() -> None:
    gate = Gate(ServiceLimits(waiting=1, receiving=3), Measures())
    with gate.enter("a") as first, gate.enter("b") as second:
        first.work()
        with pytest.raises(ProblemError):
            second.work()
        with gate.enter("c"), pytest.raises(ProblemError), gate.enter("d"):
            pass
    assert (gate.requests, gate.working, gate.held_bytes) == (0, 0, 0)
    with gate.enter("a") as again:
        again.work()
        again.hold(10)
        assert gate.held_bytes == 10
    assert (gate.requests, gate.working, gate.held_bytes) == (0, 0, 0)


@pytest.mark.parametrize(
    "recipe", [{}, {"fit": "letterbox"}, {"crop": "body"}, {"crop": "body", "fit": "letterbox"}]
)
def test_a_layer_is_as_strong_as_the_same_map_in_a_picture(
    recipe: dict[str, Any], phantom_dir: Path, tmp_path: Path
) -> None:
    shown = cv2.imread(str(next((phantom_dir / "sick").glob("*.png"))), cv2.IMREAD_GRAYSCALE)
    framed = np.zeros((shown.shape[0] * 2, shown.shape[1] * 3), np.uint8)
    framed[40 : 40 + shown.shape[0], 60 : 60 + shown.shape[1]] = shown
    cv2.imwrite(str(tmp_path / "a.png"), framed)
    settings = ImageRecipe(image_size=128, **recipe)
    image = preprocess(decode(tmp_path / "a.png"), settings)
    stages = np.random.default_rng(0).normal(0, 1, (1, 8, 8)).astype(np.float32)
    explanation = Explanation(image, settings, stages, 0.0, 0.5)
    layer, limit = encode_layer(explanation)
    assert limit == colour_limit(explanation.on_square())
    alpha = cv2.imdecode(np.frombuffer(layer, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]
    painted = paint(np.full((128, 128, 3), 0, np.uint8), explanation.on_square(), limit)
    strong = painted.max(axis=2) > 0.95 * painted.max()
    x, y, width, height = image.box or (0, 0, image.frame[1], image.frame[0])
    scale = alpha.shape[0] / image.frame[0]
    inside = alpha[
        round(y * scale) : round((y + height) * scale), round(x * scale) : round((x + width) * scale)
    ]
    assert (inside >= 0.8 * 255 * 0.95).mean() == pytest.approx(strong.mean(), abs=0.03)
    assert alpha.sum() == pytest.approx(inside.sum(), rel=0.05)


def _takes(connection: socket.socket) -> bool:
    """Whether one more byte can be sent."""
    try:
        connection.sendall(b"a")
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _in_flight(service: RunningService) -> float:
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("breastlens_requests_in_flight "))


def _wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
