"""The page in a real browser: what its users do, by mouse and by keyboard, and what they then see and save."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from .conftest import RunningService

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "a-token-of-twenty-letters"


@pytest.fixture
def open_page(visit: Callable[..., Any], service: RunningService) -> Callable[..., Any]:
    """Opens the service's page, or one at another address, and waits until it can be used."""

    def open_(url: str = service.url, *, ready: str = "#intake", **options: Any) -> Any:
        return visit(url, ready=ready, **options)

    return open_


@pytest.fixture(scope="module")
def files(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two images, a text, a matrix of temperatures as a picture, and a photograph of nothing known."""
    folder = tmp_path_factory.mktemp("files")
    sick, healthy = (next((phantom_dir / side).glob("*.png")) for side in ("sick", "healthy"))
    (folder / "notes.md").write_text("no image")
    grey = cv2.imread(str(sick), cv2.IMREAD_GRAYSCALE)
    np.save(folder / "celsius.npy", (20 + grey / 255 * 15).astype(np.float32))
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "noise.png"), noise)
    return [sick, healthy, folder / "notes.md", folder / "celsius.npy", folder / "noise.png"]


def add(page: Any, files: list[Path]) -> None:
    before = page.locator(".card").count()
    page.locator("#files").set_input_files(files)
    playwright.expect(page.locator(".card[aria-busy=false]")).to_have_count(
        before + len(files), timeout=60_000
    )
    playwright.expect(page.locator("#cancel")).to_be_hidden(timeout=60_000)


def saved_csv(page: Any) -> pd.DataFrame:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    return pd.read_csv(io.StringIO(Path(download.value.path()).read_text("utf-8-sig")), keep_default_na=True)


def test_three_files_of_which_one_is_no_image(
    open_page: Callable[..., Any], files: list[Path], bundle: Path, tmp_path: Path
) -> None:
    page = open_page()
    playwright.expect(page.locator("#notice")).to_contain_text("Research use only")
    added = [*files[:3], files[4]]
    add(page, added)
    playwright.expect(page.locator(".card:not(.failed) .decision")).to_have_count(3)
    failed = page.locator(".card.failed")
    playwright.expect(failed).to_have_count(1)
    playwright.expect(failed).to_contain_text("notes.md")
    playwright.expect(failed).to_contain_text("It is text, not an image that is read here")

    out = tmp_path / "scores.csv"
    call = [sys.executable, "-m", "breastlens", "predict", bundle, *added, "--out", out, "--quiet"]
    subprocess.run(call, check=True, timeout=120, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    expected, found = pd.read_csv(out), saved_csv(page)
    found = found.set_index("file").loc[[path.name for path in added]].reset_index()
    assert found["decision"].tolist()[3] == "refused"
    for name in ("y_score", "distance"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6)
    for name in ("y_pred", "category", "decision", "prediction_set", "novel"):
        pd.testing.assert_series_equal(found[name], expected[name], check_dtype=False)
    assert found["model_version"][0] in page.locator("#imprint").inner_text()


def test_the_map_is_laid_over_the_image_as_much_as_the_reader_wants(
    open_page: Callable[..., Any], files: list[Path]
) -> None:
    page = open_page()
    add(page, files[:1])
    original, mapped = (page.locator(".stage").nth(place) for place in (0, 1))
    assert original.locator("img").count() == 1, "the original is never covered"
    layer = mapped.locator("img").nth(1)
    slider = page.get_by_role("slider", name="Map")
    for value in ("0", "0.5", "1"):
        slider.fill(value)
        assert layer.evaluate("image => getComputedStyle(image).opacity") == value
    covered, bare = mapped.screenshot(), None
    slider.fill("0")
    bare = mapped.screenshot()
    assert covered != bare
    page.get_by_role("slider", name="Contrast").fill("2")
    assert "contrast(2)" in original.locator("img").evaluate("image => image.style.filter")
    playwright.expect(page.locator(".pictures")).to_contain_text("not where a lesion is")


def test_everything_can_be_done_by_keyboard(open_page: Callable[..., Any], files: list[Path]) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    with page.expect_file_chooser() as chooser:
        page.locator("#choose").focus()  # and by its answer Chromium has heard that a chooser is expected
        page.keyboard.press("Enter")
    chooser.value.set_files(files[:1])
    playwright.expect(page.locator(".card[aria-busy=false]")).to_have_count(1)
    stage = page.locator(".stage").first
    stage.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    moved = page.locator(".layers").first.evaluate("layers => layers.style.transform")
    assert "scale(1.5625)" in moved
    assert page.locator(".layers").nth(1).evaluate("layers => layers.style.transform") == moved, "both move"
    page.keyboard.press("0")
    assert "scale(1)" in page.locator(".layers").first.evaluate("layers => layers.style.transform")
    for name in ("Agree", "Save as CSV", "Print", "Remove all", "Zoom in"):
        button = page.get_by_role("button", name=name, exact=name == "Agree").first
        button.focus()
        assert button.evaluate("element => element === document.activeElement"), name
    page.get_by_role("button", name="Agree", exact=True).press("Space")
    assert page.get_by_role("button", name="Agree", exact=True).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Remove all").press("Enter")
    playwright.expect(page.locator(".card")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "choose"


def test_who_reads_first_sees_nothing_of_the_answer_before(
    open_page: Callable[..., Any], files: list[Path]
) -> None:
    page = open_page()
    page.get_by_label("Let me read first").check()
    page.locator("#patient").fill("Anna")
    add(page, files[:2])
    for words in (".decision", ".scale", ".similar"):
        assert page.locator(f".card {words}").count() == 0
    assert page.locator(".pictures figure:visible").count() == 2, "one for each, without a map"
    playwright.expect(page.locator(".group-result")).to_contain_text("when you have read all images")
    assert saved_csv(page)[["y_score", "decision", "patient_y_score"]].isna().all(axis=None)
    card = page.locator(".card").first
    card.get_by_role("button", name="sick", exact=True).click()
    playwright.expect(card.locator(".decision")).to_have_count(1)
    playwright.expect(card).to_contain_text("You read first: sick")
    assert "decision" in page.evaluate("document.activeElement.className"), (
        "where the answer is, goes the focus"
    )
    playwright.expect(card.locator(".origin")).to_contain_text("version")
    card.get_by_role("button", name="Disagree").click()
    card.get_by_role("textbox").fill('=HYPERLINK("x"), "quoted"')
    page.locator(".card").nth(1).get_by_role("button", name="unsure").click()
    playwright.expect(page.locator(".group-result")).to_contain_text("Together:")
    table = saved_csv(page)
    assert table["reader_first"].tolist() == ["positive", "unsure"]
    assert table["reader_agrees"].tolist()[0] == "disagree"
    assert table["note"][0] == '\'=HYPERLINK("x"), "quoted"'
    assert table["patient"].tolist() == ["Anna", "Anna"]
    assert table["patient_y_score"].notna().all()


def test_a_matrix_is_shown_as_a_picture_and_a_stranger_is_refused(
    open_page: Callable[..., Any], files: list[Path]
) -> None:
    page = open_page()
    add(page, files[3:])
    matrix, noise = page.locator(".card").nth(0), page.locator(".card").nth(1)
    assert matrix.locator(".stage img").first.evaluate("image => image.naturalWidth") > 0
    playwright.expect(noise.locator(".decision")).to_contain_text("not like the training images")
    assert noise.locator(".scale").count() == 0, "a score that says nothing is not shown"
    playwright.expect(noise.locator(".explain")).to_contain_text(", limit ")
    assert noise.get_by_role("button", name="Agree").count() == 0, "there is nothing to agree with"
    assert noise.get_by_role("textbox").count() == 1


def test_long_batches_can_be_cancelled_and_taken_up_again(
    open_page: Callable[..., Any], phantom_dir: Path
) -> None:
    page = open_page()
    page.locator("#files").set_input_files(sorted(phantom_dir.rglob("*.png"))[:40])
    page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.locator("#cancel")).to_be_hidden()
    cancelled = page.locator(".card.failed").count()
    assert 0 < cancelled <= 40
    page.locator(".card.failed").first.get_by_role("button", name="Try again").click()
    playwright.expect(page.locator(".card.failed")).to_have_count(cancelled - 1)


def test_a_patient_whose_images_were_cancelled_does_not_wait(
    open_page: Callable[..., Any], phantom_dir: Path
) -> None:
    page = open_page()
    page.locator("#patient").fill("Anna")
    page.locator("#files").set_input_files(sorted(phantom_dir.rglob("*.png"))[:40])
    page.locator(".card:not(.failed) .decision").first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    playwright.expect(page.locator("#cancel")).to_be_hidden()
    head = page.locator(".group-head")
    playwright.expect(head).to_contain_text("There is no result together yet.")
    head.get_by_role("button", name="Try again").click()
    playwright.expect(head).to_contain_text("of 40 images counted")
    playwright.expect(head.get_by_role("button")).to_have_count(0)


def test_where_a_patient_is_decided_otherwise_than_its_one_image_it_says_why(
    open_page: Callable[..., Any], files: list[Path]
) -> None:
    page = open_page()
    together = re.compile(r"predictions\?model=breast$")  # images alone are asked about with map=true
    page.locator("#patient").fill("Anna")
    with page.expect_response(together) as answered:
        add(page, files[:1])
    result = page.locator(".group-result")
    playwright.expect(result).to_contain_text("(1 of 1 images counted)")
    assert "limits of their own" not in result.inner_text()
    told = answered.value.json()
    [patient], [image] = told["patients"], told["predictions"]
    assert patient["decision"] == image["decision"]
    patient["decision"] = "positive" if image["decision"] == "refer" else "refer"
    page.route(together, lambda route: route.fulfill(json=told))
    page.locator("#patient").fill("Berta")
    add(page, files[:1])
    playwright.expect(result.nth(1)).to_contain_text("limits of their own")


def test_what_is_chosen_stands_in_natural_order_and_of_a_folder_other_files_are_skipped(
    open_page: Callable[..., Any], files: list[Path], tmp_path: Path
) -> None:
    page = open_page()
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("10.png", "2.png", "1.png"):
        shutil.copy(files[0], folder / name)
    page.locator("#files").set_input_files([folder / "10.png", folder / "2.png"])
    playwright.expect(page.locator(".card h4")).to_have_count(2)
    assert [name.split()[0] for name in page.locator(".card h4").all_inner_texts()] == ["2.png", "10.png"]
    page.get_by_role("button", name="Remove all").click()
    np.savetxt(folder / "celsius.csv", np.load(files[3]), fmt="%.2f", delimiter=";")
    (folder / "manifest.csv").write_text("path,category\n1.png,sick\n")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7")
    (folder / "LICENCE").write_text("Nobody may.")
    (folder / ".hidden.png").write_text("")
    page.locator("#folder").set_input_files(folder)
    playwright.expect(page.locator(".card[aria-busy=false] h4")).to_have_count(4, timeout=60_000)
    shown = [name.split()[0].removeprefix("folder/") for name in page.locator(".card h4").all_inner_texts()]
    assert shown == ["1.png", "2.png", "10.png", "celsius.csv"]
    playwright.expect(page.locator("#message")).to_have_text("Other files skipped: 3.")
    assert page.locator(".card.failed").count() == 0


def test_a_folder_that_is_dropped_is_searched(open_page: Callable[..., Any], files: list[Path]) -> None:
    page = open_page()
    data = files[0].read_bytes().hex()
    page.evaluate(
        """hex => {
          const bytes = Uint8Array.from(hex.match(/../g).map((two) => parseInt(two, 16)));
          const entry = (name) => ({ name, isFile: true, file: (done) => done(new File([bytes], name)) });
          const folder = (name, inside) => ({
            name,
            isFile: false,
            createReader: () => {
              const left = [...inside];
              return { readEntries: (done) => done(left.splice(0, 2)) };
            },
          });
          const below = folder("b", [entry("2.png")]);
          const others = [entry("paper.pdf"), entry("list.csv"), entry(".hidden.png")];
          const tree = folder("a", [entry("3.png"), entry("1.png"), below, ...others]);
          const event = new Event("drop", { cancelable: true });
          event.dataTransfer = { items: [{ webkitGetAsEntry: () => tree }], files: [] };
          document.dispatchEvent(event);
        }""",
        data,
    )
    playwright.expect(page.locator(".card[aria-busy=false]")).to_have_count(3, timeout=60_000)
    assert sorted(page.locator(".card h4").all_inner_texts())[0].startswith("1.png")
    playwright.expect(page.locator("#message")).to_have_text("Other files skipped: 2.")


def test_a_picture_can_be_pasted(open_page: Callable[..., Any], files: list[Path]) -> None:
    page = open_page()
    page.evaluate(
        """hex => {
          const bytes = Uint8Array.from(hex.match(/../g).map((two) => parseInt(two, 16)));
          const event = new Event("paste");
          event.clipboardData = { files: [new File([bytes], "image.png", { type: "image/png" })] };
          document.dispatchEvent(event);
        }""",
        files[0].read_bytes().hex(),
    )
    playwright.expect(page.locator(".card[aria-busy=false]")).to_have_count(1, timeout=60_000)


def test_a_token_is_asked_for_and_kept_by_the_page_alone(
    open_page: Callable[..., Any],
    start_service: Callable[..., RunningService],
    bundle: Path,
    tmp_path: Path,
    files: list[Path],
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"lab {TOKEN}\n")
    service = start_service(bundle, "--token-file", tokens)
    page = open_page(service.url, ready="#token-form", foreseen=("Failed to load resource",))
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Use it").click()
    playwright.expect(page.locator("#token-error")).to_contain_text("does not know")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.locator("#intake").wait_for()
    add(page, files[:1])
    stored = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert stored == '[{},{},""]'
    page.reload()
    page.locator("#token-form").wait_for()
    assert page.locator(".card").count() == 0, "reloading forgets"
    service.end()


def test_the_service_that_has_gone_is_told(
    open_page: Callable[..., Any],
    start_service: Callable[..., RunningService],
    bundle: Path,
    files: list[Path],
) -> None:
    service = start_service(bundle)
    page = open_page(service.url, foreseen=("Failed to load resource",))
    service.end()
    page.locator("#files").set_input_files(files[:1])
    playwright.expect(page.locator(".card.failed")).to_contain_text(
        "The service does not answer", timeout=60_000
    )
    page.evaluate("0")


@pytest.mark.parametrize(
    ("language", "words"), [("pt", "Somente para pesquisa"), ("es", "Solo para investigación")]
)
def test_the_page_speaks_the_readers_language(
    open_page: Callable[..., Any], files: list[Path], language: str, words: str
) -> None:
    page = open_page(locale=language)
    playwright.expect(page.locator("#notice")).to_contain_text(words)
    assert page.locator("html").get_attribute("lang") == language
    add(page, files[:1])
    page.get_by_role("combobox").first.select_option("en")
    playwright.expect(page.locator("#notice")).to_contain_text("Research use only")
    playwright.expect(page.locator(".card")).to_contain_text("Probability of sick")


def test_no_rule_of_accessibility_is_broken_and_nothing_runs_out_of_the_page(
    open_page: Callable[..., Any],
    files: list[Path],
    screen: dict[str, Any],
    assert_accessible: Callable[..., None],
) -> None:
    page = open_page(**screen)
    page.locator("#patient").fill("A rather long name of a patient, for a test")
    add(page, files)
    for summary in page.locator("summary").all():
        if not summary.evaluate("element => element.parentElement.open"):
            summary.click()
    assert_accessible(page, f"page-{screen['viewport']['width']}-{screen['color_scheme']}")


def test_printed_it_names_model_and_data(
    open_page: Callable[..., Any], files: list[Path], tmp_path: Path
) -> None:
    page = open_page()
    add(page, files[:2])
    page.emulate_media(media="print")
    for hidden in ("#intake", ".tools", ".sliders"):
        assert not page.locator(hidden).first.is_visible(), hidden
    for shown in ("#notice", "#imprint", ".decision", ".verdict"):
        assert page.locator(shown).first.is_visible(), shown
    for origin in page.locator(".card .origin").all_inner_texts():
        assert "AUC" in origin
        assert "Worst control" in origin
    imprint = page.locator("#imprint").inner_text()
    assert "version" in imprint
    assert "training data" in imprint


def test_the_strings_of_all_languages_say_the_same_things() -> None:
    import json

    folder = Path(sys.modules["breastlens"].__file__ or "").parent / "serve" / "page" / "strings"
    tables = {path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    assert set(tables) == {"en", "pt", "es"}
    for table in tables.values():
        assert list(table) == list(tables["en"])
        for key, words in table.items():
            assert words.strip()
            assert sorted(re.findall(r"\{\w+\}", words)) == sorted(
                re.findall(r"\{\w+\}", tables["en"][key])
            ), key
