"""The page of an audit: what it says, that it is one closed file, and that a name can do it no harm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breastlens.audit.finding import CODES
from breastlens.errors import RunDirectoryError
from breastlens.report.audit_figures import draw_controls, draw_sheet
from breastlens.report.audit_files import PICTURES, AuditFacts, read_audit_files
from breastlens.report.audit_page import PROVED, write_audit_page
from breastlens.report.audit_wording import audit_verdict, worst_control
from breastlens.report.wording import RESEARCH_USE

HOSTILE = '<script>alert("x")</script>'
Make = Callable[..., Path]
ORDER = (
    *("controls", "occlusions", "duplicates", "near_duplicates"),
    *("doubtful_labels", "marks", "files", "distributions"),
)
"""The pictures as they follow each other on the page."""


class Page(HTMLParser):
    """The elements of a page and its text."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def interval(value: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "level": 0.95, "method": "patient bootstrap"}


def control(auc: float | None, low: float | None, high: float | None, margin: Any = None) -> dict[str, Any]:
    made: dict[str, Any] = {"what": "Only that was shown", "auc": auc, "low": low, "high": high}
    return made if margin is None else made | {"margin": interval(*margin)}


def make_facts() -> dict[str, Any]:
    """An audit with everything in it."""
    return {
        "format": 1,
        "kind": "audit",
        "command": ["breastlens", "audit", "my data"],
        "created": "2026-11-22T17:00:00+00:00",
        "recipe": {"backbone": "mobilenet", "within": ["site"], "border_px": None},
        "image": {"image_size": 128},
        "labels": {"positive": ["sick"], "negative": ["healthy"]},
        "data": {"root": "dmr", "fingerprint": "0f" * 32, "used": 40},
        "features": {"name": "MobileNet", "note": "Weights were not to be had."},
        "findings": [
            {
                "code": "breast-not-shown",
                "severity": "error",
                "what": "The data cannot show that a model sees the breast.",
                "count": 40,
                "advice": "Collect classes that were taken alike.",
                "evidence": {"name": "margin in AUC", "value": 0.01, "low": -0.1, "high": 0.1},
            },
            {"code": "ignored-files", "severity": "info", "what": "3 files ignored.", "count": 3, "records": ["a.txt"]},
        ],
        "whole": control(0.9, 0.85, 0.95),
        "controls": {
            "border": control(0.89, 0.8, 0.94, (0.01, -0.1, 0.1)),
            "noise": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5)),
            "labels": control(0.51, 0.4, 0.62),
        },
        "corrected": interval(0.71, 0.6, 0.8),
        "matched": [
            {"column": "site", "auc": interval(0.62, 0.5, 0.7), "images": 30, "images_left_out": 10},
            {"column": "year", "auc": interval(None, None, None), "reason": "no year holds both labels"},
        ],
        "nuisance": [
            {"column": "site", "what": "A from B", "auc": interval(0.97, 0.9, 1.0)},
            {"column": "year", "what": "", "auc": None, "reason": "too few patients"},
        ],
        "properties": [
            {"name": "site", "measure": "Cramer's V", "effect": 0.81, "p_adjusted": 0.004, "positive": "A (20)",
             "negative": "B (20)", "tells": True},
            {"name": "height", "effect": None, "p_adjusted": None},
            {"name": "view", "untested": "only one value"},
        ],
        "notes": ["One note."],
        "versions": {"python": "3.11"},
        "machine": {"cores": 2},
        "phases": [{"name": "probes", "wall_s": 1.5, "cpu_s": None}, {"name": "read", "wall_s": 2.0, "cpu_s": 1.0}],
    }  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes an audit's directory; what is given replaces facts, and None takes them out."""

    def write(**changes: Any) -> Path:
        facts = {name: value for name, value in (make_facts() | changes).items() if value is not None}
        if "verdict" not in facts:
            facts["verdict"] = audit_verdict(AuditFacts.model_validate(facts))
        (tmp_path / "findings.json").write_text(json.dumps(facts))
        return tmp_path

    return write


def write(directory: Path) -> Page:
    return Page(write_audit_page(directory).read_text(encoding="utf-8"))


def test_the_page_says_it_all(make: Make) -> None:
    text = write(make()).text
    for said in (
        "AUC 0.900 (0.850 to 0.950); a model that sees only the border reaches 0.890 (0.800 to 0.940). "
        "1 serious finding.",
        "The data cannot show that a model sees the breast.",
        "Within site, comparing only images of the same value, the AUC is 0.620 (0.500 to 0.700) on 30 images; "
        "10 images without a counterpart were left out.",
        "Within year no AUC can be had: no year holds both labels.",
        "The image gives site away: within one label, a model tells A from B with an AUC of 0.970 (0.900 to 1.000).",
        "How well the image gives year away is not known: too few patients.",
        "the AUC is 0.710 (0.600 to 0.800): an estimate of what is left",
        "0.400 (0.300 to 0.500)",
        "tells the label",
        "only one value",
        "Weights were not to be had.",
        "One note.",
        "breastlens audit 'my data'",
        "3.5",
        RESEARCH_USE,
    ):  # fmt: skip
        assert said in text, said


def test_nothing_is_fetched_and_nothing_runs(make: Make) -> None:
    directory = make()
    (directory / "figures").mkdir()
    draw_controls([("whole image", 0.9, 0.8, 1.0)], directory / "figures" / "controls.png")
    page = write(directory)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "form", "base"}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
    html = (directory / "audit.html").read_text()
    assert "@import" not in html
    assert not re.search(r"url\((?!data:)", html)
    policy = [one["content"] for one in page.all("meta") if one.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def poison(value: Any) -> Any:
    """The same facts with every free text made hostile."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, list):
        return [poison(each) for each in value]
    if isinstance(value, dict):
        kept = ("kind", "created", "severity", "labels")
        return {name: each if name in kept else poison(each) for name, each in value.items()}
    return value


def test_hostile_text_anywhere_stays_text(make: Make) -> None:
    facts = poison(make_facts())
    facts["labels"] = {"positive": [HOSTILE], "negative": ["healthy"]}
    facts["controls"] = {HOSTILE: facts["controls"]["border"]}
    facts["recipe"] = {HOSTILE: HOSTILE}
    facts["versions"] = {HOSTILE: HOSTILE}
    page = write(make(**facts))
    assert page.all("script") == []
    assert HOSTILE in page.text
    assert "<script" not in (make(**facts) / "audit.html").read_text().lower()


def test_a_name_that_is_no_text_does_not_stop_the_page(make: Make) -> None:
    finding = make_facts()["findings"][1] | {"records": ["bad\udcff.png"]}
    assert "bad\\udcff.png" in write(make(findings=[finding])).text


def test_without_probes_and_figures_there_is_still_a_page(make: Make) -> None:
    gone = dict.fromkeys(("whole", "controls", "corrected", "matched", "nuisance", "features"))
    page = write(make(**gone))
    assert "1 serious finding; no model could be trained, so shortcuts were not looked for." in page.text
    assert "Without the breast" not in page.text
    assert page.all("img") == []


def test_the_least_that_an_audit_can_hold_gives_a_page(make: Make) -> None:
    least = dict.fromkeys(set(make_facts()) - {"format", "kind", "labels"})
    text = write(make(**least)).text
    assert "No serious finding; no model could be trained" in text
    assert "Nothing was found about the data that needs saying." in text


def test_figures_without_intervals_and_without_values(make: Make) -> None:
    facts = {
        "whole": control(1.0, None, None),
        "controls": {
            "border": control(1.0, None, None, (0.0, None, None)),
            "background": control(None, None, None, (None, None, None)),
            "labels": control(None, None, None),
        },
        "corrected": interval(None, None, None),
        "matched": [{"column": "site", "auc": interval(1.0, None, None), "images": 1}],
        "nuisance": [
            {"column": "site", "what": "A from B", "auc": interval(1.0, None, None)},
            {"column": "day", "what": "", "auc": dict.fromkeys(interval(0, 0, 0)), "reason": "one patient"},
        ],
        "findings": [],
    }
    text = write(make(**facts)).text
    assert "AUC 1.000; a model that sees only the border reaches 1.000. No serious finding." in text
    assert "the AUC is 1.000 on 1 image." in text
    assert "How well the image gives day away is not known: one patient." in text
    assert "None" not in text
    assert "nan" not in text.lower().replace("nanometre", "")


def test_pictures_stand_inside_with_words_for_those_who_cannot_see_them(make: Make) -> None:
    told = [
        ("near-duplicates-across-labels", "Two pairs."),
        ("duplicates-across-labels", "One set."),
        ("marks-tell-label", "Marks go with the label."),
        ("bits-tell-label", "Bits tell the label."),
        ("shortcut-border", "The border tells."),
    ]
    finding = make_facts()["findings"][1]
    directory = make(findings=[finding | {"code": code, "what": what} for code, what in told])
    (directory / "figures").mkdir()
    for name in PICTURES:
        draw_controls([("whole image", 0.9, 0.8, 1.0)], directory / "figures" / f"{name}.png")
    images = write(directory).all("img")
    assert all((one["src"] or "").startswith("data:image/png;base64,") for one in images)
    said = {name: one["alt"] for name, one in zip(ORDER, images, strict=True)}
    assert said == {
        "controls": f"{PICTURES['controls']} The border tells.",
        "occlusions": PICTURES["occlusions"],
        "duplicates": f"{PICTURES['duplicates']} One set.",
        "near_duplicates": f"{PICTURES['near_duplicates']} Two pairs.",
        "doubtful_labels": PICTURES["doubtful_labels"],
        "marks": f"{PICTURES['marks']} Marks go with the label.",
        "files": PICTURES["files"],
        "distributions": f"{PICTURES['distributions']} Bits tell the label.",
    }


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("occlusions", "controls"),
        ("duplicates", "findings"),
        ("files", "findings"),
        ("distributions", "properties"),
    ],
)
def test_a_picture_stands_in_the_section_it_belongs_to(name: str, section: str, make: Make) -> None:
    directory = make()
    (directory / "figures").mkdir()
    draw_controls([("whole image", 0.9, 0.8, 1.0)], directory / "figures" / f"{name}.png")
    elements = write(directory).elements
    (place,) = [place for place, (tag, _) in enumerate(elements) if tag == "figure"]
    sections = [attributes.get("aria-labelledby") for tag, attributes in elements[:place] if tag == "section"]
    assert sections[-1] == section


def test_every_picture_proves_codes_that_exist() -> None:
    assert set(PROVED) == set(PICTURES) == set(ORDER)
    proved = {name: [code for code in CODES if pattern.match(code)] for name, pattern in PROVED.items()}
    assert [name for name, codes in proved.items() if not codes] == ["occlusions"]
    named = [code for codes in proved.values() for code in codes]
    assert len(set(named)) == len(named)


def test_the_control_with_the_smallest_margin_is_named() -> None:
    facts = make_facts()
    assert worst_control(AuditFacts.model_validate(facts)) == "border"
    facts["controls"]["noise"]["margin"] = interval(-0.2, None, None)
    assert worst_control(AuditFacts.model_validate(facts)) == "noise"
    facts["controls"] = {"labels": control(0.9, 0.8, 1.0)}
    assert worst_control(AuditFacts.model_validate(facts)) is None
    assert audit_verdict(AuditFacts.model_validate(facts)) == "AUC 0.900 (0.850 to 0.950). 1 serious finding."


@pytest.mark.parametrize(
    ("count", "said"), [(0, "No serious finding."), (1, "1 serious finding."), (2, "2 serious findings.")]
)
def test_errors_are_counted_and_nothing_else(count: int, said: str) -> None:
    error, info = make_facts()["findings"]
    facts = AuditFacts.model_validate(make_facts() | {"findings": [error] * count + [info]})
    assert audit_verdict(facts).endswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not an audit's directory: it has no findings.json"),
        ("{", "is damaged"),
        ('{"format": 2, "kind": "audit"}', "is not what this version reads: format"),
        ('{"format": 1, "kind": "training"}', "is not what this version reads: kind"),
        ('{"format": 1, "kind": "audit"}', "is not what this version reads: labels"),
    ],
)
def test_a_directory_that_is_none_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "findings.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=said):
        read_audit_files(tmp_path)


def test_drawings_bear_missing_values_and_long_names(tmp_path: Path) -> None:
    bars = [("whole image", 0.9, 0.8, 1.0), ("x" * 200, None, None, None), ("perfect", 1.0, None, None)]
    sheet = {
        "whole image": [np.zeros((8, 8, 3), np.uint8)] * 2,
        "border": [np.full((8, 8, 3), 255, np.uint8)] * 2,
    }
    for path in (
        draw_controls(bars, tmp_path / "a.png"),
        draw_sheet(sheet, ["sick $x_1$", "y" * 90], tmp_path / "b.png"),
    ):
        assert path.read_bytes().startswith(b"\x89PNG")
