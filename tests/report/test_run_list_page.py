"""The list of runs in a real browser: in order and filtered by mouse and by keyboard, printed, and without scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.report.run_list import RunLine
from breastlens.report.run_list_page import write_run_page

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DMR = {"data": "dmr", "kind": "train", "verdict": "unexplained", "split_hash": "9c"}
LINES = [
    RunLine("run-10", "2026-11-24T09:00:00+00:00", backbone="vgg16", auc=0.9, auc_low=0.8, auc_high=0.95, **DMR),
    RunLine(
        "run-9", "2026-11-23T09:00:00+00:00", backbone="vgg19", auc=0.86, auc_low=0.6, auc_high=0.9, images=1200,
        patients=90, control="border", control_auc=0.9, margin=-0.04, margin_low=-0.2, margin_high=0.1, **DMR,
    ),
    RunLine("no AUC", "2026-11-22T09:00:00+00:00", images=80, margin=0.1, verdict="no AUC", data="busi"),
    RunLine("x/<img src=x onerror=alert(1)> & 'y'", "2026-11-21T09:00:00+00:00", data="<b>", auc=0.1, images=9),
    RunLine("folder/" * 20 + "of-a-name-without-a-place-to-break-it" * 3, "2026-11-20T09:00:00+00:00", auc=0.5),
    RunLine("bare"),
]  # fmt: skip
ORDER = ["run-10", "run-9", "no AUC", "x/<", "fol", "bare"]


@pytest.fixture
def open_list(visit: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Opens the page of some runs, the newest first."""

    def open_(lines: list[RunLine] = LINES, **options: Any) -> Any:
        path = write_run_page(tmp_path / "runs.html", tmp_path, lines, "-date")
        return visit(path.as_uri(), **options)

    return open_


def shown(page: Any) -> list[str]:
    """The beginnings of the names of the rows that are seen."""
    names = page.locator("tbody tr:visible th").all_inner_texts()
    return [next((each for each in ORDER if name.startswith(each)), name) for name in names]


def sorted_headings(page: Any) -> list[tuple[str, str]]:
    return [
        (heading.inner_text(), heading.get_attribute("aria-sort"))
        for heading in page.locator("th[aria-sort]").all()
    ]


def test_a_click_puts_in_order_and_what_has_no_value_stays_last(open_list: Callable[..., Any]) -> None:
    page = open_list()
    assert shown(page) == ORDER
    assert sorted_headings(page) == [("Date", "descending")]
    for heading, up, down in (
        ("AUC", ["x/<", "fol", "run-9", "run-10"], ["run-10", "run-9", "fol", "x/<"]),
        ("Margin", ["run-9", "no AUC"], ["no AUC", "run-9"]),
        ("Images", ["x/<", "no AUC", "run-9"], ["run-9", "no AUC", "x/<"]),
    ):
        button = page.get_by_role("button", name=heading, exact=True)
        button.click()
        assert sorted_headings(page) == [(heading, "descending")]
        assert shown(page)[: len(down)] == down
        button.click()
        assert sorted_headings(page) == [(heading, "ascending")]
        assert shown(page)[: len(up)] == up
        assert shown(page)[-1] == "bare"
    page.get_by_role("button", name="Run", exact=True).click()
    assert shown(page) == ["bare", "fol", "no AUC", "run-9", "run-10", "x/<"]


def test_words_and_conditions_filter_and_the_count_is_announced(open_list: Callable[..., Any]) -> None:
    page = open_list()
    field, count = page.get_by_label("Show only rows with"), page.get_by_role("status")
    playwright.expect(count).to_have_text("6 of 6 runs")
    for asked, left in (
        ("DMR vgg", ["run-10", "run-9"]),
        ("auc>=0.5", ["run-10", "run-9", "fol"]),
        ("dmr auc_low > 0.7", ["run-10"]),
        ('verdict="no AUC"', ["no AUC"]),
        ("date>=2026-11-23", ["run-10", "run-9"]),
        ("-0.04", ["run-9"]),
        ("0.900.80", []),  # a figure and its interval are two
        ("auc=", ["no AUC", "bare"]),
        ("<img", ["x/<"]),
    ):
        field.fill(asked)
        playwright.expect(count).to_have_text(f"{len(left)} of 6 runs")
        assert shown(page) == left, asked
    field.fill("auc>high")
    playwright.expect(count).to_have_text("6 of 6 runs; not followed: auc>high (no number)")
    field.fill("auk>0.5 dmr")
    playwright.expect(count).to_have_text("2 of 6 runs; not followed: auk>0.5 (no such column)")


def test_all_can_be_done_by_keyboard(open_list: Callable[..., Any]) -> None:
    page = open_list()
    page.keyboard.press("Tab")
    page.keyboard.type("dmr")
    assert shown(page) == ["run-10", "run-9"]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region", "which arrows scroll"
    for _ in ("Run", "AUC"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert sorted_headings(page) == [("AUC", "ascending")]
    assert shown(page) == ["run-9", "run-10"]
    assert page.evaluate("document.activeElement.textContent") == "AUC", "the focus stays"


def test_without_scripts_it_is_a_table(open_list: Callable[..., Any]) -> None:
    page = open_list(java_script_enabled=False)
    assert page.locator("tbody tr").count() == len(LINES)
    assert page.locator("thead th").all_inner_texts()[:2] == ["Run", "AUC"]
    assert page.get_by_text("x/<img src=x onerror=alert(1)> & 'y'").is_visible()
    for needs_them in ("#filter", "#form", "button"):
        assert not page.locator(needs_them).first.is_visible(), needs_them


def test_printed_it_is_whole_and_says_what_was_left_out(open_list: Callable[..., Any]) -> None:
    page = open_list([line._replace(path=f"{number}") for number in range(60) for line in LINES[:1]])
    page.emulate_media(media="print")
    assert not page.locator("#filter").is_visible()
    assert page.locator(".scroll").evaluate("box => box.scrollHeight === box.clientHeight")
    page.locator("#words").evaluate(
        "field => { field.value = '59'; field.dispatchEvent(new Event('input')); }"
    )
    assert page.get_by_role("status").inner_text() == "1 of 60 runs"
    assert not page.locator("#form").is_visible()


def test_no_run(open_list: Callable[..., Any]) -> None:
    page = open_list([])
    playwright.expect(page.locator("main")).to_have_text("There is no run to list.")
    assert page.locator("h1").inner_text() == "0 runs"


@pytest.mark.parametrize("lines", [LINES, []], ids=["runs", "none"])
def test_no_rule_of_accessibility_is_broken_and_only_the_table_scrolls(
    open_list: Callable[..., Any],
    screen: dict[str, Any],
    assert_accessible: Callable[..., None],
    lines: list[RunLine],
) -> None:
    page = open_list(lines, **screen)
    if lines:
        page.get_by_role("button", name="AUC", exact=True).click()
        page.get_by_label("Show only rows with").fill("auc>0")
    assert_accessible(page, f"runs-{len(lines)}-{screen['viewport']['width']}-{screen['color_scheme']}")
