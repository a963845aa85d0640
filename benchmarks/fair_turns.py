"""How long one image waits while another client has very many costly ones at the service.

Run as ``python benchmarks/fair_turns.py [--requests 32] [--asked 20]``.

One client keeps so many requests at the service, each of eight large images of noise, from an address of its own on
loopback. Meanwhile a small image is asked about, again and again: from another address, from the crowd's own, where it
has no turn of its own, and with nobody else there. Needs a system on which all of 127.0.0.0/8 is loopback, as on Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator

import cv2
import httpx
import numpy as np

from saved_models import train_model
from serve import start_service
from side_by_side import options, report, spread, temporary_folder

CROWD, OTHER = "127.0.0.2", "127.0.0.3"
FILES, SIDE_PX = 8, 1000
TIMEOUT_S = 120.0
SETTLED_S = 3.0


def main() -> None:
    """Prints one table."""
    arguments = parse()
    noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    large = cv2.imencode(".png", noise)[1].tobytes()
    taken = {}
    with temporary_folder() as folder:
        run, _ = train_model(folder / "model", arguments.backbone, "none")
        small = min((folder / "model").rglob("*.png")).read_bytes()
        with start_service(run) as (url, _, _):
            taken["nobody else"] = ask_often(url, small, OTHER, arguments.asked)
            with crowd(url, large, arguments.requests):
                taken["another address"] = ask_often(url, small, OTHER, arguments.asked)
                taken["the crowd's own address"] = ask_often(url, small, CROWD, arguments.asked)
    report(
        "fair_turns",
        f"Seconds until the answer for one small image beside {arguments.requests} requests of {FILES} images of "
        f"{SIDE_PX}x{SIDE_PX} px, {arguments.backbone}, median (range) of {arguments.asked}",
        ("asked from", "seconds", "not answered"),
        [
            [name, spread(times).written(2) if times else "–", str(arguments.asked - len(times))]
            for name, times in taken.items()
        ],
        arguments.out,
        arguments=vars(arguments),
        seconds=taken,
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=1)
    parser.add_argument("--backbone", default="mobilenet:0.25", help="of the model (%(default)s)")
    parser.add_argument("--requests", type=int, default=32, help="at the service at any time (%(default)s)")
    parser.add_argument("--asked", type=int, default=20, help="times (%(default)s)")
    return parser.parse_args()


@contextlib.contextmanager
def crowd(url: str, image: bytes, requests: int) -> Iterator[None]:
    """A client with so many requests at the service while the block lasts."""
    over = threading.Event()

    def keep_asking() -> None:
        with client(CROWD) as own:
            while not over.is_set():
                own.post(url, files=[("files", ("a.png", image))] * FILES)

    threads = [threading.Thread(target=keep_asking) for _ in range(requests)]
    for thread in threads:
        thread.start()
    time.sleep(SETTLED_S)
    yield
    over.set()
    for thread in threads:
        thread.join()


def ask_often(url: str, image: bytes, address: str, count: int) -> list[float]:
    """Seconds until each answer; without those that were refused."""
    times = []
    with client(address) as own:
        for _ in range(count):
            begun = time.perf_counter()
            answer = own.post(url, files=[("files", ("a.png", image))])
            if answer.status_code == httpx.codes.OK:
                times.append(time.perf_counter() - begun)
    return times


def client(address: str) -> httpx.Client:
    """Asks from an address on loopback."""
    return httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=TIMEOUT_S)


if __name__ == "__main__":
    main()
