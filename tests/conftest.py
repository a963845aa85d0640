"""Fixtures that more than one room's tests need."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from breastlens.cohort.records import Cohort
from breastlens.config import ImageRecipe
from breastlens.imaging import phantom
from breastlens.imaging.anatomy import Anatomy
from breastlens.imaging.marks import Marks
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.imaging.thermogram import Plane, Pose
from breastlens.runs.directory import Run
from breastlens.work.run import Failed, Place, run_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit

# A busy machine may take any time for a case; how fast the code is, the benchmarks tell.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


LONG = ("real", "browser", "slow")
"""Marks of tests that take long."""

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""Of axe-core, which no page breaks."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with long tests first, so that no worker is left alone with one of them at the end."""
    marks: dict[Path, set[str]] = {}
    for item in items:
        marks.setdefault(item.path, set()).update(mark.name for mark in item.iter_markers())
    items.sort(key=lambda item: marks[item.path].isdisjoint(LONG))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests, and the commands that they start, out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREASTLENS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def load_benchmark() -> Callable[[str], ModuleType]:
    """Loads a module of ``benchmarks/`` by its name."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def ray_starts() -> None:
    """A skip, with the reason, where Ray is not installed or this machine does not let it start."""
    ray = pytest.importorskip("ray")
    try:
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
    except Exception as error:  # noqa: BLE001  whatever it is
        pytest.skip(f"Ray cannot start on this machine: {error}")
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright, or a skip that says what is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page by its address; whatever its console says ends the test."""
    said: list[str] = []
    contexts = []

    def open_(url: str, *, ready: str = "main", foreseen: tuple[str, ...] = (), **options: Any) -> Any:
        context = browser.new_context(
            **{"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"} | options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on(
            "console",
            lambda message: None if message.text.startswith(foreseen) else said.append(message.text),
        )
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        page.locator(ready).wait_for()
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture(
    params=[
        (width, height, scheme)
        for width, height in ((390, 844), (768, 1024), (1440, 900))
        for scheme in ("light", "dark")
    ],
    ids=lambda screen: f"{screen[0]}-{screen[2]}",
)
def screen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of a telephone, a tablet and a desk, by day and by night: options of `visit`."""
    width, height, scheme = request.param
    return {"viewport": {"width": width, "height": height}, "color_scheme": scheme}


@pytest.fixture
def assert_accessible() -> Callable[..., None]:
    """Checks a page by axe-core, and that nothing runs out of it; BREASTLENS_SCREENSHOTS says where pictures go."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")

    def check(page: Any, picture: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        found = axe.Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
        assert found.response["violations"] == [], found.generate_report()
        folder = os.environ.get("BREASTLENS_SCREENSHOTS")
        if folder:
            page.screenshot(path=Path(folder) / f"{picture}.png", full_page=True)

    return check


@dataclass
class FolderServer:
    """A folder behind HTTP on this machine.

    Attributes:
        folder: Which.
        address: Of its page.
        asked: The paths that were asked for.
        failing: How often each path is still to be answered with ``status``.
        status: 503, a server that is busy, unless a test says otherwise.
        everywhere: A page that is given for each path instead, if any.
        moved: Where else what is asked for by a path is.
    """

    folder: Path
    address: str = ""
    asked: list[str] = field(default_factory=list)
    failing: Counter[str] = field(default_factory=Counter)
    status: int = 503
    everywhere: bytes = b""
    moved: dict[str, str] = field(default_factory=dict)


class _FolderHandler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, served: FolderServer) -> None:
        self.served = served
        super().__init__(*arguments, directory=str(served.folder))

    def do_GET(self) -> None:
        self.served.asked.append(self.path)
        if self.served.failing[self.path] > 0:
            self.served.failing[self.path] -= 1
            self.send_error(self.served.status)
        elif self.path in self.served.moved:
            self.send_response(302)
            self.send_header("Location", self.served.moved[self.path])
            self.end_headers()
        elif self.served.everywhere:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(self.served.everywhere)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        try:
            super().copyfile(source, outputfile)
        except ConnectionError:  # whoever asked has seen enough
            self.close_connection = True


@pytest.fixture
def served(tmp_path: Path) -> Iterator[FolderServer]:
    """A new folder and its server."""
    folder = FolderServer(tmp_path / "served")
    folder.folder.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_FolderHandler, served=folder)
    )
    folder.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails is asked again at once."""
    monkeypatch.setattr("breastlens.inference.stores.PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def do_all() -> Callable[[Sequence[Unit], UnitStore, Place], list[Any]]:
    """Does units and gives their results in order, or raises what the first that failed has raised."""

    def do(units: Sequence[Unit], store: UnitStore, place: Place) -> list[Any]:
        taken: dict[str, Any] = {}
        run_units(units, store, place, lambda unit, result: taken.update({unit.key: result}))
        for result in taken.values():
            if isinstance(result, Failed):
                raise result.error
        return [taken[unit.key] for unit in units]

    return do


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real images and weights beside the project, or a skip that says why."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real images and weights are not beside the project")
    return SHARED


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty simulated patients with two images each; ``manifest.csv`` is inside."""
    folder = tmp_path_factory.mktemp("phantom") / "images"
    write_cohort(folder, PhantomSettings(patients=30, images_per_patient=2, seed=1))
    return folder


@pytest.fixture(scope="module")
def remembered_phantoms() -> Iterator[None]:
    """An image that was simulated or encoded before is taken from memory, also for a cohort with other traps."""
    simulate, encode = phantom.simulate_temperature, phantom.encode_image
    planes: dict[Pose, Plane] = {}
    files: dict[tuple[tuple[int, ...], bytes, str], bytes] = {}

    def remember_plane(anatomy: Anatomy, pose: Pose, generator: np.random.Generator) -> Plane:
        if pose not in planes:
            planes[pose] = simulate(anatomy, pose, generator)
        return planes[pose]

    def remember_file(pixels: NDArray[np.uint8], suffix: str) -> bytes:
        content = pixels.shape, pixels.tobytes(), suffix
        if content not in files:
            files[content] = encode(pixels, suffix)
        return files[content]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "simulate_temperature", remember_plane)
        patch.setattr(phantom, "encode_image", remember_file)
        yield


@pytest.fixture
def marks_not_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of what a look at an image costs is the search for marks; for tests that hang on other findings."""
    monkeypatch.setattr("breastlens.audit.files.find_marks", lambda _: Marks((), (), 0.0, 0.0))


@pytest.fixture
def figures_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of what a small training costs are its figures; for tests that look at none."""
    monkeypatch.setattr("breastlens.runs.conduct.draw_figures", lambda *_: None)


@pytest.fixture(scope="session")
def phantoms(phantom_dir: Path) -> Cohort:
    """The simulated patients as a cohort."""
    return Cohort.read(phantom_dir, manifest=phantom_dir / "manifest.csv")


@pytest.fixture(scope="session")
def awkward_dir(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated patients with what real folders hold besides.

    A file that is no image, a copy of an image under another patient, an image under both categories, and an image
    with a remark in the manifest's ``note`` column.
    """
    folder = tmp_path_factory.mktemp("awkward") / "images"
    shutil.copytree(phantom_dir, folder)
    rows = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)[
        ["path", "category", "patient_id"]
    ]
    sick, healthy = (rows.loc[rows["category"] == side, "path"].tolist() for side in ("sick", "healthy"))
    (folder / "sick" / "broken.png").write_bytes(b"not an image at all")
    shutil.copy(folder / sick[0], folder / "sick" / "copy.png")
    shutil.copy(folder / healthy[0], folder / "sick" / "contradiction.png")
    added = [
        {"path": "sick/broken.png", "category": "sick", "patient_id": "X1"},
        {"path": "sick/copy.png", "category": "sick", "patient_id": "X2"},
        {"path": "sick/contradiction.png", "category": "sick", "patient_id": "X3"},
    ]
    rows = pd.concat([rows, pd.DataFrame(added)]).assign(note="", visit="007")
    rows.loc[rows["path"] == healthy[2], "note"] = "blurred"
    rows.to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def awkward(awkward_dir: Path) -> Cohort:
    """That folder as a cohort of 64x64 images."""
    return Cohort.read(
        awkward_dir,
        manifest=awkward_dir / "manifest.csv",
        exclude_when="note",
        image=ImageRecipe(image_size=64),
    )


@pytest.fixture(scope="session")
def quick() -> dict[str, Any]:
    """Settings of the quickest training there is."""
    return {"backbone": "mobilenet:0.25", "weights": "none"}


@pytest.fixture(scope="session")
def holdout_run(awkward: Cohort, quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A probe trained on three parts, seed 0; to be read only."""
    pytest.importorskip("keras")
    from breastlens.runs.train import train

    return train(
        awkward, out=tmp_path_factory.mktemp("holdout") / "run", command=("breastlens", "train"), **quick
    )
