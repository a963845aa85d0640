"""The page of an audit: what it says, that it is one closed file, and that a name can do it no harm."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from breastlens.audit.finding import CODES
from breastlens.cli.show import print_audit
from breastlens.errors import RunDirectoryError
from breastlens.report.audit_figures import draw_controls, draw_sheet
from breastlens.report.audit_files import PICTURES, AuditFacts, Remedy, read_audit_files
from breastlens.report.audit_page import PROVED, write_audit_page
from breastlens.report.audit_wording import (
    audit_meaning,
    audit_verdict,
    judged_on,
    list_controls,
    remedies_sentence,
    remedy_rows,
    worst_control,
)
from breastlens.report.key_figures import KeyFigure, audit_key_figures
from breastlens.report.rendering import embed
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


def make_remedies() -> list[dict[str, Any]]:
    """The images as they are, and one other way of preparing them."""
    given = {
        "border": control(0.89, 0.8, 0.94, (0.01, -0.1, 0.1)),
        "noise": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5)),
        "file": control(0.99, 0.98, 1.0, (-0.09, -0.1, -0.08)),
        "labels": control(0.51, 0.4, 0.62),
    }
    cropped = given | {
        "border": control(0.6, 0.5, 0.7, (0.28, 0.2, 0.35)),
        "noise": control(0.7, 0.6, 0.8, (0.18, 0.1, 0.25)),
    }
    within = [
        {"column": "year", "auc": interval(0.81, 0.7, 0.9)},
        {"column": "site", "auc": interval(0.62, 0.52, 0.7)},
    ]
    return [
        {"remedy": "as given", "changes": {}, "whole": control(0.9, 0.85, 0.95), "controls": given, "matched": within},
        {"remedy": "--crop body", "changes": {"crop": "body"}, "whole": control(0.88, 0.83, 0.93),
         "controls": cropped, "matched": [{"column": "site", "auc": None, "reason": "too few"}]},
    ]  # fmt: skip


def make_facts() -> dict[str, Any]:
    """An audit with everything in it."""
    return {
        "format": 1,
        "kind": "audit",
        "command": ["breastlens", "audit", "my data"],
        "created": "2026-11-22T17:00:00+00:00",
        "recipe": {"backbone": "mobilenet", "weights": "imagenet", "within": ["site"], "border_px": None},
        "image": {"image_size": 128},
        "labels": {"positive": ["sick"], "negative": ["healthy"]},
        "data": {"root": "dmr", "fingerprint": "0f" * 32, "used": 40, "patients": 38},
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
        "remedies": make_remedies(),
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
            known = AuditFacts.model_validate(facts)
            facts |= {"verdict": audit_verdict(known), "meaning": audit_meaning(known)}
        (tmp_path / "findings.json").write_text(json.dumps(facts))
        return tmp_path

    return write


def write(directory: Path) -> Page:
    return Page(write_audit_page(directory).read_text(encoding="utf-8"))


def test_the_page_says_it_all(make: Make) -> None:
    text = write(make()).text
    for said in (
        "AUC 0.90 (0.85 to 0.95); a model that sees only the border reaches 0.89 (0.80 to 0.94). 1 serious finding.",
        "Judged on 40 images of 38 patients, each scored by a model trained on others: sick against healthy. "
        "Ranges are 95% intervals over patients.",
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


def test_the_tiles_of_an_audit_are_those_of_a_run() -> None:
    facts = make_facts()
    assert audit_key_figures(AuditFacts.model_validate(facts)) == [
        KeyFigure("AUC", "0.90", "0.85 to 0.95", "1 is perfect, 0.5 is guessing"),
        KeyFigure("Worst control", "0.89", "0.80 to 0.94", "AUC of a model that sees only the border"),
        KeyFigure("Margin", "0.01", "−0.10 to 0.10", "what the model adds to the control: may be nothing", "warning"),
        KeyFigure("Matched AUC", "0.62", "0.50 to 0.70", "among images with the same “site”", "warning"),
    ]  # fmt: skip
    facts["controls"]["border"]["margin"] = interval(-0.03, -0.06, -0.01)
    margin = audit_key_figures(AuditFacts.model_validate(facts))[2]
    assert margin[1:] == ("−0.03", "−0.06 to −0.01", "the control does better", "warning")
    for none in (None, control(None, None, None)):
        assert audit_key_figures(AuditFacts.model_validate(facts | {"whole": none})) == []


@pytest.mark.parametrize(
    ("whole", "margin", "tones"),
    [
        (1.0, 0.2, ["", ""]),  # not a single mistake, and a margin counts by its value, as in the findings
        (0.9, 0.2, ["warning", ""]),
        (1.0, 0.0, ["", "warning"]),
        (1.0, -0.1, ["", "warning"]),
    ],
)
def test_tiles_without_intervals_are_judged_as_findings_are(
    whole: float, margin: float, tones: list[str]
) -> None:
    changed = {
        "whole": control(whole, None, None),
        "controls": {"border": control(0.8, None, None, (margin, None, None))},
        "matched": [{"column": "site", "auc": interval(whole, None, None)}],
    }
    auc, _, added, matched = audit_key_figures(AuditFacts.model_validate(make_facts() | changed))
    assert [auc.tone, added.tone] == tones
    assert matched.tone == auc.tone
    assert (added.meaning == "the control does better") is (margin < 0)


def test_the_page_of_an_audit_begins_as_that_of_a_run(make: Make) -> None:
    text = write(make()).text
    places = [
        text.index(said)
        for said in (
            "AUC 0.90 (0.85 to 0.95); a model that",
            "Judged on",
            "Worst control0.89",
            "Matched AUC0.62",
            "The data cannot show",
            "Within site",
            RESEARCH_USE,
            "Without the breast",
            "Within year no AUC",
            "What other preparations would bring",
            "Findings",
        )
    ]
    assert places == sorted(places)


def test_what_is_not_known_of_patients_is_not_said() -> None:
    facts = make_facts()
    unknown = facts | {"data": {"used": 1200, "patients": 0}}
    assert judged_on(AuditFacts.model_validate(unknown)) == (
        "Judged on 1,200 images (patients unknown), each scored by a model trained on others: sick against healthy. "
        "Ranges are 95% intervals over images."
    )
    assert judged_on(AuditFacts.model_validate(facts | {"whole": None})) == ""


def test_a_row_a_preparation_with_what_decides() -> None:
    remedies = [Remedy.model_validate(each) for each in make_remedies()]
    assert list_controls(remedies) == [
        "border",
        "noise",
    ]  # a file and dealt labels are not the breast's rivals
    given, cropped = remedy_rows(remedies)
    space = "\N{NO-BREAK SPACE}"
    assert given.remedy == "as given"
    assert given.whole[:2] == ("0.90", f"0.85{space}to{space}0.95")
    assert [cell.value for cell in given.controls] == ["0.89", "0.50"]
    assert (given.margin.value, given.margin.remark) == ("0.01", "to border")
    assert given.matched is not None
    assert (given.matched.value, given.matched.remark) == ("0.62", "within site")
    assert [cell.value for cell in cropped.controls] == ["0.60", "0.70"]
    assert (cropped.margin.value, cropped.margin.remark) == ("0.18", "to noise")
    assert cropped.matched == ("–", "", "within site")


def test_rows_differ_in_their_controls_and_may_have_none() -> None:
    first = Remedy.model_validate({"remedy": "as given", "controls": {"border": control(0.8, None, None)}})
    second = Remedy.model_validate(
        {"remedy": "x", "controls": {"noise": control(None, None, None, (None,) * 3)}}
    )
    assert list_controls([first, second]) == ["border", "noise"]
    rows = remedy_rows([first, second])
    assert [[cell[:2] for cell in row.controls] for row in rows] == [
        [("0.80", "no\N{NO-BREAK SPACE}interval"), ("–", "")],
        [("–", ""), ("–", "")],
    ]
    assert [row[1] for row in rows] == [("–", "", "")] * 2
    assert [row.margin for row in rows] == [("–", "", "")] * 2
    assert [row.matched for row in rows] == [None, None]
    assert "matched" not in remedies_sentence([first, second])
    assert remedies_sentence([]) == ""
    assert remedy_rows([]) == []


def test_the_page_shows_a_table_of_remedies_only_where_they_were_tried(make: Make) -> None:
    page = write(make())
    assert (
        "A preparation helps where the controls fall and the AUC of whole images, and above all the matched AUC, does "
        "not." in page.text
    )
    assert "on the same patients and folds" in page.text
    assert "The AUC of the row that is chosen after looking is a little too good." in page.text
    heads = "Preparation Whole image border noise Smallest margin Lowest matched AUC".replace(" ", "")
    assert heads in page.text.replace(" ", "")
    assert "--crop body" in page.text
    without = [each | {"matched": []} for each in make_remedies()]
    assert "Lowest matched AUC" not in write(make(remedies=without)).text
    assert "other preparations" not in write(make(remedies=None)).text


def test_the_terminal_shows_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_audit({"verdict": "Verdict.", "meaning": "", "notes": [], "remedies": make_remedies()}, [], None)
    said = capsys.readouterr().out
    assert remedies_sentence([Remedy.model_validate(each) for each in make_remedies()]) in said
    (cropped,) = [line.split() for line in said.splitlines() if "--crop" in line]
    assert cropped == ["--crop", "body", "0.88", "0.60", "0.70", "0.18", "to", "noise", "–", "within", "site"]
    print_audit({"verdict": "Verdict.", "meaning": "Meaning.", "notes": ["No probe."]}, [], None)
    said = capsys.readouterr().out
    assert "Verdict. Meaning.\nNo probe.\n" in said
    assert "preparation" not in said


def test_a_chart_stays_a_png_and_a_sheet_of_photographs_is_made_small(tmp_path: Path) -> None:
    chart = draw_controls([("whole image", 0.9, 0.8, 1.0)], tmp_path / "chart.png").read_bytes()
    assert embed(chart, caption="c", alternative="a").source == "data:image/png;base64," + base64.b64encode(
        chart
    ).decode("ascii")
    down, across = np.mgrid[:300, :500]
    speckle = np.random.default_rng(0).normal(0, 6, (300, 500))
    grey = 120 + 60 * np.sin(down / 40) * np.cos(across / 60) + speckle
    photo = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    photo[20:60, 20:60] = (0, 0, 255)  # BGR: a change of channels would show
    png = cv2.imencode(".png", photo)[1].tobytes()
    picture = embed(png, caption="c", alternative="a")
    kind, _, held = picture.source.partition(",")
    assert kind == "data:image/webp;base64"
    held_bytes = base64.b64decode(held)
    assert len(held_bytes) < len(png) / 2
    back = cv2.imdecode(np.frombuffer(held_bytes, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert back is not None
    assert back.shape == photo.shape
    assert cv2.PSNR(back, photo) > 33
    assert (picture.width, picture.height) == (250, 150)


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
    assert "No model was trained, so shortcuts were not looked for. 1 serious finding." in page.text
    assert "Without the breast" not in page.text
    assert page.all("img") == []


def test_the_least_that_an_audit_can_hold_gives_a_page(make: Make) -> None:
    least = dict.fromkeys(set(make_facts()) - {"format", "kind", "labels"})
    text = write(make(**least)).text
    assert "No model was trained, so shortcuts were not looked for. No serious finding." in text
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
    assert (
        "AUC 1.00 (no interval); a model that sees only the border reaches 1.00 (no interval). No serious finding."
        in text
    )
    assert "Ranges are" not in text
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
    assert audit_verdict(AuditFacts.model_validate(facts)) == "AUC 0.90 (0.85 to 0.95). 1 serious finding."


@pytest.mark.parametrize(
    ("count", "said"), [(0, "No serious finding."), (1, "1 serious finding."), (2, "2 serious findings.")]
)
def test_errors_are_counted_and_nothing_else(count: int, said: str) -> None:
    error, info = make_facts()["findings"]
    facts = AuditFacts.model_validate(make_facts() | {"findings": [error] * count + [info]})
    assert audit_verdict(facts).endswith(said)


def test_what_the_verdict_means_follows_from_the_findings() -> None:
    not_shown, info = make_facts()["findings"]
    shortcuts = [
        not_shown | {"code": f"shortcut-{name}", "severity": "warning"} for name in ("border", "file")
    ]

    def means(*findings: Any, **changes: Any) -> tuple[str, bool]:
        facts = AuditFacts.model_validate(make_facts() | {"findings": [*findings, info]} | changes)
        return audit_meaning(facts), "No serious finding" in audit_verdict(facts)

    assert means(not_shown, *shortcuts) == ("These data cannot show that the model sees the breast.", False)
    told = "Part of this AUC need not come from the breast. 1 of the 2 controls tells the two apart, too."
    assert means(*shortcuts) == (told, False)
    told = "No control explains the score. That is not yet a proof that the model sees the breast."
    assert means(shortcuts[1]) == (told, False)  # no network is shown the file
    assert means(not_shown, whole=control(0.6, 0.4, 0.7))[0].endswith("no better than guessing.")
    assert means(not_shown, whole=control(0.3, 0.2, 0.4))[0].startswith("The AUC is not above 0.5")
    assert means(whole=control(1.0, None, None))[0].endswith("is not known.")
    assert means(whole=None) == ("", True)
    assert means(whole=control(None, None, None))[0] == ""


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


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"features": {"name": "MobileNet", "weights": "ImageNet"}}, "imagenet"),
        ({"features": {"name": "local patterns", "note": "."}}, "imagenet, not used: local patterns"),
        (
            dict.fromkeys(("whole", "controls", "corrected", "matched", "nuisance", "features")),
            "imagenet, not used: no probe was trained",
        ),
    ],
)
def test_settings_of_a_network_that_was_not_used_say_so(
    make: Make, changes: dict[str, Any], told: str
) -> None:
    page = write_audit_page(make(**changes)).read_text(encoding="utf-8")
    assert f'<tr><th scope="row">weights</th><td>{told}</td></tr>' in page
