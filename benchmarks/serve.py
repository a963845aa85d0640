"""A service under load: ``breastlens serve`` beside FastAPI around Keras's ``predict``, and beside its own engine.

Run as ``python benchmarks/serve.py [--backbones mobilenet] [--weights FOLDER] [--soak 100000]``.

All use the same model. The load generator (``load_client.py``) runs beside the service on the same processor, 64
connections over loopback, each sending a JPEG of some 20 kB and waiting for the answer. "Engine" is what the network
alone reaches on squares in memory; "no HTTP" is decoding, network, novelty and prediction sets in this process, as
``breastlens predict`` does it. Latency at 70 % load is that of requests at random moments at 0.7 times what was reached
just before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from breastlens import load
from breastlens.cohort.parallel import map_in_order
from breastlens.imaging.decode import decode_bytes
from breastlens.imaging.preprocess import preprocess
from saved_models import train_model
from side_by_side import (
    BREASTLENS,
    options,
    report,
    say,
    seconds,
    spread,
    take_turns,
    temporary_folder,
)

HERE = Path(__file__).parent
JPEG_BYTES, WIDTH, HEIGHT = 20_000, 320, 240
IMAGES, SQUARES = 16, 400
READY_S = 120.0


def main() -> None:
    """Prints one table over all backbones."""
    arguments = parse()
    rows, figures = [], {}
    with temporary_folder() as folder:
        images = write_jpegs(folder / "images")
        for backbone in arguments.backbones:
            run, weights = train_model(folder / "model", backbone, arguments.weights)
            taken = take_turns(make_sides(arguments, run, images), arguments.repeats)
            soak = soak_memory(run, images, arguments.soak) if arguments.soak else None
            rows.append([backbone, weights, *tabulate(taken), *([] if soak is None else [soak["growth"]])])
            figures[backbone] = taken | {"soak": soak}
    report(
        "serve",
        f"{arguments.connections} connections, JPEG files of {JPEG_BYTES / 1000:.0f} kB ({WIDTH}x{HEIGHT}), "
        f"{arguments.seconds:g} s a side, median (range) of {arguments.repeats}",
        (
            "backbone",
            "weights",
            "requests/s",
            "of no HTTP",
            "of engine",
            "Keras, requests/s",
            "times",
            "alone, ms",
            "mean at 70 %, ms",
            "p99 at 70 %, ms",
            "times",
            "ready, s",
            *(["memory after all / after 1,000"] if arguments.soak else []),
        ),
        rows,
        arguments.out,
        left=2,
        arguments=vars(arguments),
        figures=figures,
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=3)
    parser.add_argument("--backbones", nargs="+", default=["mobilenet"], help="as for breastlens train")
    parser.add_argument("--weights", default="none", help="imagenet, none or a folder of weights files")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load a side")
    parser.add_argument("--soak", type=int, default=0, help="requests after which memory is looked at again")
    return parser.parse_args()


def write_jpegs(folder: Path) -> list[Path]:
    """Smooth random fields with noise, at the quality that comes nearest to the size wanted."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(IMAGES):
        generator = np.random.default_rng(number)
        field = generator.uniform(40, 215, (7, 9)).astype(np.float32)
        smooth = cv2.resize(field, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        image = np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        encoded = [
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for quality in range(40, 100)
        ]
        best = min(encoded, key=lambda data: abs(len(data) - JPEG_BYTES))
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(best.tobytes())
    return paths


def make_sides(arguments: argparse.Namespace, run: Path, images: list[Path]) -> dict[str, Callable[[], Any]]:
    """What is measured in turn."""
    return {
        "engine": lambda: time_engine(run),
        "no HTTP": lambda: time_pipeline(run, images),
        "breastlens serve": lambda: time_service(arguments, run, images),
        "FastAPI and Keras": lambda: time_keras(arguments, run, images),
    }


def time_engine(run: Path) -> float:
    """Images a second of the network alone, on squares in memory."""
    engine = load(run).bundle.engine
    side = engine.image_size
    squares = np.random.default_rng(0).integers(0, 256, (SQUARES, side, side, 3), dtype=np.uint8)
    engine.run(squares[:32])
    return SQUARES / seconds(lambda: engine.run(squares))


def time_pipeline(run: Path, images: list[Path]) -> float:
    """Images a second from JPEG files in memory to answers, without HTTP."""
    predictor = load(run)
    recipe = predictor.bundle.card.image
    files = [path.read_bytes() for path in images] * (SQUARES // len(images))

    def answer(some: list[bytes]) -> None:
        squares = map_in_order(lambda data: preprocess(decode_bytes(data), recipe), some)
        for _ in predictor.answer_each(squares):
            pass

    answer(files[:32])
    return len(files) / seconds(lambda: answer(files))


def time_service(arguments: argparse.Namespace, run: Path, images: list[Path]) -> dict[str, float]:
    """Start-up, throughput, the time of a request alone, and latency at 70 % load."""
    with start_service(run) as (url, _, ready_s):
        ask(url, images, seconds=2.0, connections=arguments.connections)
        full = ask(url, images, seconds=arguments.seconds, connections=arguments.connections)
        alone = ask(url, images, seconds=arguments.seconds / 3, connections=1)
        rate = 0.7 * full["a_second"]
        part = ask(url, images, seconds=arguments.seconds, connections=arguments.connections, rate=rate)
    return {
        "a_second": full["a_second"],
        "p99_full_s": full["p99_s"],
        "alone_s": alone["mean_s"],
        "mean_part_s": part["mean_s"],
        "p99_part_s": part["p99_s"],
        "ready_s": ready_s,
        "client_processor_s": full["processor_s"],
    }


def time_keras(arguments: argparse.Namespace, run: Path, images: list[Path]) -> dict[str, float]:
    """Throughput of the service that users of Keras write."""
    port = free_port()
    size = load(run).bundle.card.image.image_size
    call = [sys.executable, *map(str, (HERE / "keras_service.py", run / "model" / "model.keras", port, size))]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url)
        place = f"{url}/predict"
        ask(place, images, seconds=4.0, connections=arguments.connections, field="file")
        full = ask(place, images, seconds=arguments.seconds, connections=arguments.connections, field="file")
    finally:
        process.kill()
        process.wait()
    return {"a_second": full["a_second"], "p99_full_s": full["p99_s"]}


def soak_memory(run: Path, images: list[Path], count: int) -> dict[str, Any]:
    """Resident memory of the service and its decoders after 1,000 requests and after many more."""
    with start_service(run) as (url, pid, _):
        taken = {}
        for requests in (1_000, count - 1_000):
            say(f"{requests:,} requests")
            told = ask(url, images, seconds=3600, connections=64, count=requests)
            if set(told["statuses"]) != {"200"}:
                raise RuntimeError(f"not all requests were answered: {told['statuses']}")
            taken[f"after {requests:,} more"] = resident_bytes(pid)
    first, last = taken.values()
    return {"bytes": taken, "growth": f"{last / first:.3f}"}


def resident_bytes(pid: int) -> int:
    """Of a process and its children now."""
    found = 0
    for one in [pid, *children(pid)]:
        status = Path(f"/proc/{one}/status").read_text()
        found += 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]
    return found


def children(pid: int) -> list[int]:
    """Processes that a process has started and that run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextlib.contextmanager
def start_service(run: Path) -> Iterator[tuple[str, int, float]]:
    """A service that takes requests: where, its process, and how long that took to come."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*map(str, BREASTLENS), "serve", str(run), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = next(
            found[1] for line in process.stdout or () if (found := re.match(r"Serving at (\S+) ", line))
        )
        wait_until_ready(url)
        yield f"{url}/v1/predictions", process.pid, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until_ready(url: str) -> None:
    """Wait until a service says so."""
    until = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ask(url: str, images: list[Path], **how: Any) -> dict[str, Any]:
    """What the load generator tells."""
    more = [text for name, value in how.items() for text in (f"--{name}", str(value))]
    call = [sys.executable, str(HERE / "load_client.py"), url, *map(str, images), *more]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=os.environ)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def tabulate(taken: dict[str, list[Any]]) -> list[str]:
    """One row of the table."""
    ours, keras = taken["breastlens serve"], taken["FastAPI and Keras"]
    each = range(len(ours))

    def share(others: list[float]) -> str:
        return f"{100 * spread([ours[at]['a_second'] / others[at] for at in each]).median:.0f} %"

    return [
        spread([one["a_second"] for one in ours]).written(0),
        share(taken["no HTTP"]),
        share(taken["engine"]),
        spread([one["a_second"] for one in keras]).written(1),
        spread([ours[at]["a_second"] / keras[at]["a_second"] for at in each]).written(1),
        spread([1e3 * one["alone_s"] for one in ours]).written(1),
        spread([1e3 * one["mean_part_s"] for one in ours]).written(0),
        spread([1e3 * one["p99_part_s"] for one in ours]).written(0),
        spread([one["p99_part_s"] / one["mean_part_s"] for one in ours]).written(1),
        spread([one["ready_s"] for one in ours]).written(1),
    ]


if __name__ == "__main__":
    main()
