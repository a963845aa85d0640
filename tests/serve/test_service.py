"""The command: who may reach it, what it logs, what it refuses when there is too much, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from breastlens.runs.directory import Run

from .conftest import RunningService

TOKEN = "a-token-of-twenty-letters"


@pytest.fixture(scope="module")
def image(phantom_dir: Path) -> bytes:
    return next((phantom_dir / "sick").glob("*.png")).read_bytes()


def slow_image() -> bytes:
    """Takes a good part of a second to decode."""
    noise = np.random.default_rng(0).integers(0, 256, (4000, 4000, 3), dtype=np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


def send(client: httpx.Client, *images: bytes, **query: object) -> httpx.Response:
    files = [("files", ("secret name.png", data)) for data in images]
    return client.post("/v1/predictions", files=files, params=query, data={"patient_id": "secret patient"})  # type: ignore[arg-type]


def test_it_is_ready_tells_its_state_and_counts(client: httpx.Client, image: bytes) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    before = _counted(client)
    send(client, image, b"no image")
    after = _counted(client)
    for line, more in (
        ('breastlens_requests_total{route="/v1/predictions",status="200"}', 1),
        ('breastlens_images_total{model="breast",outcome="scored"}', 1),
        ('breastlens_images_total{model="breast",outcome="unreadable"}', 1),
    ):
        assert after[line] - before.get(line, 0) == more, line


def test_the_page_and_its_files_are_served_and_nothing_else(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/js/main.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/strings/pt.json").json()["language"] == "Idioma"
    for path in (
        "/js/",
        "/strings/../../app.py",
        "/js/%2e%2e/%2e%2e/app.py",
        "/docs",
        "/redoc",
    ):
        assert client.get(path).status_code == 404, path


def test_it_answers_for_its_own_name_alone(service: RunningService) -> None:
    answer = httpx.get(f"{service.url}/v1/model", headers={"host": "evil.example"})
    assert answer.status_code == 403


def test_without_tokens_no_name_that_is_not_its_own_is_answered_for_beyond_this_machine(
    start_service: Callable[..., RunningService], bundle: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"lab {TOKEN}\n")
    names = ("192.0.2.7", "localhost", socket.gethostname(), "evil.example")
    open_, named, guarded = (
        start_service(bundle, "--host", "0.0.0.0", *more)
        for more in (("--no-auth",), ("--no-auth", "--allow-host", "evil.example"), ("--token-file", tokens))
    )
    for service, statuses in (
        (open_, [200, 200, 200, 403]),
        (named, [403, 403, 403, 200]),
        (guarded, [200, 200, 200, 200]),
    ):
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        headers = {"authorization": f"Bearer {TOKEN}"}
        found = [httpx.get(f"{url}/v1/model", headers=headers | {"host": name}) for name in names]
        assert [answer.status_code for answer in found] == statuses
        service.process.send_signal(signal.SIGINT)  # Ctrl-C
        assert service.process.wait(60) == 0
        assert service.process.stdout is not None
        assert service.process.stdout.read() == "Stopped.\n"


def test_nothing_of_a_request_is_logged_but_its_id(
    service: RunningService, client: httpx.Client, image: bytes
) -> None:
    answer = send(client, image, b"secret content", x="secret query")
    client.get("/secret-path?secret", headers={"x-secret": "secret header"})
    _wait_for(lambda: any(answer.headers["x-request-id"] in line for line in service.log))
    time.sleep(0.2)
    assert "secret" not in "".join(service.log)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "give --token-file FILE, or say --no-auth"),
        (("--host", "203.0.113.77", "--no-auth"), "cannot listen at 203.0.113.77"),
        (("--token-file", "/nowhere"), "--token-file /nowhere cannot be read"),
        (("--allow-origin", "lab.example"), "expected a scheme and a host"),
        (("--public-key", "/nowhere"), "--public-key /nowhere cannot be read"),
    ],
)
def test_what_would_not_be_safe_or_cannot_be_is_one_line(
    options: tuple[str, ...],
    words: str,
    bundle: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from breastlens.cli import main

    monkeypatch.setattr("sys.argv", ["breastlens", "serve", str(bundle), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_tokens_are_asked_for_and_two_models_told_apart(
    start_service: Callable[..., RunningService], bundle: Path, holdout_run: Run, tmp_path: Path, image: bytes
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"lab {TOKEN}\n")
    tokens.chmod(0o600)
    service = start_service(
        f"one={bundle}", f"two={holdout_run.directory}", "--token-file", tokens, "--rate-limit", 6
    )
    with service.client() as nobody:
        assert send(nobody, image).status_code == 401
        assert nobody.get("/").status_code == 200
    with service.client(headers={"authorization": f"Bearer {TOKEN}"}) as lab:
        assert [one["name"] for one in lab.get("/v1/models").json()["models"]] == ["one", "two"]
        answers = [send(lab, image, **query).json() for query in ({}, {"model": "two"})]
        assert [answer["model"]["name"] for answer in answers] == ["one", "two"]
        assert answers[0]["predictions"] == answers[1]["predictions"]
        assert [lab.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert service.end() == 0
    assert TOKEN not in "".join(service.log)


def test_past_its_capacity_it_refuses_at_once_and_goes_on(
    start_service: Callable[..., RunningService], bundle: Path
) -> None:
    service = start_service(bundle, "--max-requests", 4, "--workers", 1)
    data = slow_image()
    with service.client(limits=httpx.Limits(max_connections=40)) as client, ThreadPoolExecutor(20) as pool:
        begun = time.monotonic()
        timed = [pool.submit(lambda: (send(client, data), time.monotonic())) for _ in range(20)]
        answers = [one.result() for one in timed]
        refused = [(answer, at) for answer, at in answers if answer.status_code == 503]
        served = [(answer, at) for answer, at in answers if answer.status_code == 200]
        assert len(refused) + len(served) == 20
        assert len(served) >= 4
        assert len(refused) >= 8
        assert {answer.headers["retry-after"] for answer, _ in refused} == {"1"}
        assert {answer.json()["type"] for answer, _ in refused} == {"urn:breastlens:problem:busy"}
        assert min(at for _, at in refused) - begun < max(at for _, at in served) - begun
        assert client.get("/readyz").status_code == 200
        assert send(client, data).status_code == 200
    assert service.end() == 0


def test_what_is_in_flight_is_finished_when_it_is_told_to_end(
    start_service: Callable[..., RunningService], bundle: Path
) -> None:
    service = start_service(bundle, "--workers", 1)
    data = slow_image()
    with service.client() as client, ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(send, client, data) for _ in range(3)]
        with service.client() as watcher:
            _wait_for(lambda: _counted(watcher)["breastlens_requests_in_flight"] == 3)
        service.process.terminate()
        assert [one.result().status_code for one in asking] == [200, 200, 200]
    assert service.process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/healthz")


def test_a_new_version_of_a_bundle_is_picked_up_without_losing_a_request(
    start_service: Callable[..., RunningService], bundle: Path, tmp_path: Path, image: bytes
) -> None:
    import shutil

    current = tmp_path / "current"
    first, second = (Path(shutil.copytree(bundle, tmp_path / name)) for name in ("first", "second"))
    card = json.loads((second / "bundle.json").read_text())
    (second / "bundle.json").write_text(json.dumps(card | {"threshold": 0.987}))
    current.symlink_to(first)
    service = start_service(f"breast={current}")
    statuses, versions, stop = [], set(), threading.Event()

    def keep_asking() -> None:
        with service.client() as client:
            while not stop.is_set():
                answer = send(client, image)
                statuses.append(answer.status_code)
                versions.add(answer.json()["threshold"])

    asking = threading.Thread(target=keep_asking)
    asking.start()
    _wait_for(lambda: len(statuses) > 3)
    (tmp_path / "next").symlink_to(second)
    (tmp_path / "next").replace(current)
    _wait_for(lambda: 0.987 in versions)
    stop.set()
    asking.join()
    assert set(statuses) == {200}
    assert len(versions) == 2
    assert service.end() == 0


def test_connections_that_do_not_ask_or_never_end_their_headers_are_closed(
    start_service: Callable[..., RunningService], bundle: Path, service: RunningService
) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as silent,
        socket.create_connection((host, int(port)), timeout=60) as endless,
    ):
        silent.sendall(b"GET / HT")
        headers = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Header: " + b"a" * 50 * 2**20
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            endless.sendall(headers)
        assert silent.recv(100) == b"", "it is closed in some seconds"
    assert httpx.get(f"{service.url}/healthz").status_code == 200


def _counted(client: httpx.Client) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def _wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
