"""The first screen of a report: its verdict, key figures and meaning follow from the figures by fixed rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breastlens.report.control_wording import find_worst
from breastlens.report.facts import Activation, AuditBefore, Control, Finding, Interval, Matched, Proof
from breastlens.report.key_figures import KeyFigure, key_figures
from breastlens.report.meaning import meaning
from breastlens.report.page import write_report
from breastlens.report.phrasing import short_text, short_with_interval
from breastlens.report.run_files import RunFiles, read_run_files
from breastlens.report.sections import activation_sentence, audit_sentence, disjointness
from breastlens.report.wording import doubts, reservations, verdict

RunFactory = Callable[..., Path]
UNSEEN = "These data cannot show that the model sees the breast."
PART = "Part of this AUC need not come from the breast."
UNKNOWN = "Whether the model does better than one without the breast is not known."
CLEAR = ["No control explains the score.", "That is not yet a proof that the model sees the breast."]


@pytest.fixture
def files(run_factory: RunFactory) -> RunFiles:
    """A run with an AUC of 0.94 (0.91 to 0.96) and no control."""
    read = read_run_files(run_factory("run"))
    auc = Interval(value=0.94, low=0.91, high=0.96)
    block = read.block.model_copy(update={"auc": 0.94, "intervals": {"auc": auc}, "reasons": {}})
    return replace(read, block=block)


def control(auc: float | None, low: float | None, high: float | None, margin: Any = None) -> Control:
    ends = None if margin is None else Interval(value=margin[0], low=margin[1], high=margin[2])
    return Control(auc=auc, low=low, high=high, margin=ends)


def with_facts(files: RunFiles, **changes: Any) -> RunFiles:
    return replace(files, facts=files.facts.model_copy(update=changes))


def with_proof(files: RunFiles, **counts: int) -> RunFiles:
    proof = Proof(patients_checked=9, **counts)
    return with_facts(files, split=files.facts.split.model_copy(update={"proof": proof}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.944, "0.94"), (0.946, "0.95"), (-0.03, "−0.03"), (0.0, "0.00"), (0.5, "0.50"), (1.0, "1.00"), (None, "–"),
        (0.996, "0.996"), (0.001, "0.001"), (-0.004, "−0.004"), (0.497, "0.497"), (0.503, "0.503"), (0.506, "0.51"),
    ],
)  # fmt: skip
def test_two_decimals_never_put_a_figure_on_a_limit_it_is_beside(value: float | None, text: str) -> None:
    assert short_text(value) == text


def test_a_figure_without_an_interval_says_so() -> None:
    assert short_with_interval(0.9, None) == "0.90 (no interval)"
    assert short_with_interval(0.9, Interval(low=0.8, high=None)) == "0.90 (no interval)"
    assert short_with_interval(0.9, Interval(low=0.8, high=0.999)) == "0.90 (0.80 to 0.999)"


def test_the_terminal_says_meaning_doubts_and_what_they_rest_on(files: RunFiles) -> None:
    told = reservations(replace(files, controls={"border": control(0.9, 0.8, 1.0, (0.04, 0.0, 0.1))}))
    assert told[0] == f"{UNSEEN} That control may do as well."
    assert told[1:-1] == doubts(files)
    assert told[-1].startswith("Judged on")
    undefined = replace(files, block=files.block.model_copy(update={"auc": None}))
    assert "" not in reservations(undefined)


def test_the_verdict_names_the_control_with_the_smallest_margin(files: RunFiles) -> None:
    assert verdict(files) == "AUC 0.94 (0.91 to 0.96); what a model reaches without the breast is not known."
    controls = {
        "intensity": control(0.80, 0.75, 0.85, (0.14, 0.1, 0.2)),
        "border": control(0.87, 0.83, 0.91, (0.07, 0.03, 0.11)),
        "labels": control(0.99, 0.98, 1.0),
    }
    said = "AUC 0.94 (0.91 to 0.96); a model that sees only the border reaches 0.87 (0.83 to 0.91)."
    assert verdict(replace(files, controls=controls)) == said
    unknown = {"hair": control(0.87, None, None, (0.07, None, None))}
    assert "; a model that is given “hair” alone reaches 0.87 (no interval)." in verdict(
        replace(files, controls=unknown)
    )


def test_without_margins_the_worst_control_is_that_with_the_largest_auc() -> None:
    controls = {
        "noise": control(0.6, 0.5, 0.7),
        "labels": control(0.99, 0.9, 1.0),
        "border": control(0.7, 0.6, 0.8),
    }
    assert find_worst(controls) == "border"
    assert find_worst({"labels": controls["labels"], "noise": control(None, None, None)}) is None
    # A margin decides against an AUC: images that were scored may differ.
    assert find_worst(controls | {"shuffled": control(0.5, 0.4, 0.6, (0.3, 0.2, 0.4))}) == "shuffled"
    # No network is shown what is known of the file.
    assert find_worst(controls | {"file": control(0.99, 0.98, 1.0, (-0.1, -0.2, 0.0))}) == "border"


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ({"border": control(0.9, 0.8, 1.0, (0.04, 0.0, 0.1))}, [UNSEEN, "That control may do as well."]),
        ({"border": control(0.97, 0.95, 0.99, (-0.03, -0.05, -0.01))}, [UNSEEN, "That control does better."]),
        # The margin of the worst is surely above 0, that of another is not: the other is named.
        (
            {"border": control(0.9, 0.8, 1.0, (0.04, 0.01, 0.1)), "noise": control(0.89, 0.7, 1.0, (0.05, -0.1, 0.2))},
            [UNSEEN, "A model that sees only the noise may do as well."],
        ),
        ({"border": control(0.7, 0.601, 0.8, (0.2, 0.1, 0.3))}, [PART, "The control tells the two apart, too."]),
        ({"border": control(0.7, 0.6, 0.8, (0.2, 0.1, 0.3))}, CLEAR),
        (
            {
                "border": control(0.7, 0.65, 0.8, (0.2, 0.1, 0.3)),
                "noise": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5)),
                "labels": control(0.9, 0.8, 1.0),  # tests the evaluation, and says nothing of the breast
            },
            [PART, "1 of the 2 controls tells the two apart, too."],
        ),
        (
            {name: control(0.7, 0.65, 0.8, (0.2, 0.1, 0.3)) for name in ("border", "noise")},
            [PART, "Both controls tell the two apart, too."],
        ),
        (
            {name: control(0.7, 0.65, 0.8, (0.2, 0.1, 0.3)) for name in ("border", "noise", "shuffled")},
            [PART, "All 3 controls tell the two apart, too."],
        ),
        ({"border": control(0.55, 0.4, 0.6)}, [UNKNOWN]),  # as runs left it before margins were recorded
        ({"border": control(0.8, 0.7, 0.9)}, [PART, "The control tells the two apart, too."]),
        # Every draw gave the same: the figures themselves are judged.
        ({"border": control(1.0, None, None, (0.0, None, None))}, [UNSEEN, "That control may do as well."]),
        ({"border": control(0.5, None, None, (0.5, None, None))}, CLEAR),
    ],
)  # fmt: skip
def test_the_meaning_follows_the_rule(controls: dict[str, Control], said: list[str], files: RunFiles) -> None:
    assert meaning(replace(files, controls=controls)) == said


@given(
    drawn=st.dictionaries(
        st.sampled_from(["border", "background", "noise", "shuffled", "intensity", "file", "labels"]),
        st.tuples(st.floats(0.3, 0.9), st.floats(0, 0.2), st.floats(-0.2, 0.4), st.floats(0, 0.2)),
        min_size=1,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_is_cleared_that_a_control_explains(drawn: dict[str, Any], files: RunFiles) -> None:
    controls = {
        name: control(auc, auc - slack, auc + slack, None if name == "labels" else (gap, gap - doubt, gap + doubt))
        for name, (auc, slack, gap, doubt) in drawn.items()
    }  # fmt: skip
    said = meaning(replace(files, controls=controls))
    rivals = [each for name, each in controls.items() if name not in ("labels", "file")]
    reaches = any(each.margin is not None and (each.margin.low or 0) <= 0 for each in rivals)
    above = any((each.low or 0) > 0.6 for each in rivals)
    assert (UNSEEN in said) is reaches
    assert (PART in said) is (above and not reaches)
    assert (said == CLEAR) is bool(rivals and not above and not reaches)


def test_an_auc_that_may_be_chance_leaves_nothing_to_explain(files: RunFiles) -> None:
    controls = {"border": control(0.9, 0.8, 1.0, (-0.3, -0.4, -0.2))}
    chance = "on these data the model may be no better than guessing."
    for auc, low, high, start in (
        (0.6, 0.5, 0.7, "The interval of the AUC reaches down to 0.5"),
        (0.5, 0.4, 0.6, "The AUC is not above 0.5"),
    ):
        block = files.block.model_copy(
            update={"auc": auc, "intervals": {"auc": Interval(value=auc, low=low, high=high)}}
        )
        doubtful = replace(files, block=block)
        assert meaning(replace(doubtful, controls=controls)) == [f"{start}: {chance}"]
        first, second = meaning(doubtful)
        assert first == f"{start}: {chance}"
        assert second.startswith("No negative control was run.")
        assert key_figures(doubtful)[0].tone == "warning"


def test_a_missing_interval_is_told_once(files: RunFiles) -> None:
    lone = {"auc interval": "a class has one patient only; drawing patients needs at least two"}
    block = files.block.model_copy(update={"intervals": {}, "reasons": lone})
    told = reservations(
        replace(files, block=block, controls={"border": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5))})
    )
    why = "The AUC has no interval: one class has a single patient, and at least two are needed. This may be chance."
    assert told.count(why) == 1
    same = {"auc interval": "it is the same in nearly every draw of patients"}
    block = files.block.model_copy(update={"auc": 1.0, "intervals": {}, "reasons": same})
    perfect = replace(files, block=block, controls={"border": control(0.5, 0.4, 0.6, (0.5, 0.4, 0.6))})
    assert meaning(perfect) == CLEAR
    assert any(
        each.endswith("gave the same. How far it may be off is not known.") for each in doubts(perfect)
    )


def test_key_figures_are_the_auc_the_worst_control_the_margin_and_the_lowest_matched_auc(
    files: RunFiles,
) -> None:
    matched = (
        Matched(column="visit", auc=Interval(value=0.938, low=0.9, high=0.96)),
        Matched(column="year", auc=None, reason="no year holds both labels"),
        Matched(column="site", auc=Interval(value=0.751, low=0.604, high=0.87)),
    )
    controls = {"border": control(0.87, 0.83, 0.91, (0.07, 0.0, 0.11))}
    assert key_figures(replace(files, controls=controls, matched=matched)) == [
        KeyFigure("AUC", "0.94", "0.91 to 0.96", "1 is perfect, 0.5 is guessing"),
        KeyFigure("Worst control", "0.87", "0.83 to 0.91", "AUC of a model that sees only the border"),
        KeyFigure("Margin", "0.07", "0.00 to 0.11", "what the model adds to the control: may be nothing", "warning"),
        KeyFigure("Matched AUC", "0.75", "0.60 to 0.87", "among images with the same “site”"),
    ]  # fmt: skip
    assert [(each.label, each.figure, each.interval) for each in key_figures(files)] == [
        ("AUC", "0.94", "0.91 to 0.96"),
        ("Worst control", "–", "not run"),
    ]
    worse = key_figures(
        replace(files, controls={"border": control(0.98, 0.97, 0.99, (-0.04, -0.06, -0.02))})
    )[-1]
    assert (worse.figure, worse.meaning, worse.tone) == ("−0.04", "the control does better", "warning")
    lone = key_figures(replace(files, controls={"border": control(0.98, 0.97, 0.99, (-0.04, -0.06, 0.0))}))[
        -1
    ]
    assert lone.meaning == "what the model adds to the control: may be nothing"
    sure = key_figures(replace(files, controls={"border": control(0.8, 0.7, 0.9, (0.1, 0.01, 0.2))}))[-1]
    assert (sure.label, sure.meaning, sure.tone) == ("Margin", "what the model adds to the control", "")
    assert key_figures(replace(files, matched=matched[1:2]))[-1][:3] == ("Matched AUC", "–", "not to be had")
    chance = Matched(column="site", auc=Interval(value=0.7, low=0.5, high=0.9))
    assert key_figures(replace(files, matched=(chance,)))[-1].tone == "warning"
    assert key_figures(replace(files, block=files.block.model_copy(update={"auc": None}))) == []


def test_only_the_lowest_matched_auc_is_a_doubt(files: RunFiles) -> None:
    high = Matched(column="visit", auc=Interval(value=0.938, low=0.9, high=0.96), images=50)
    low = Matched(column="site", auc=Interval(value=0.7, low=0.49, high=0.9), images=50, images_left_out=8)
    (said,) = [each for each in doubts(replace(files, matched=(high, low))) if each.startswith("Within")]
    assert said == (
        "Within site, comparing only images of the same value, the AUC is 0.700 (0.490 to 0.900) on 50 images; 8 "
        "images without a counterpart were left out. There the model may be no better than guessing."
    )
    assert not any("guessing" in each for each in doubts(replace(files, matched=(high,))))


def test_controls_are_no_doubts_of_their_own(files: RunFiles) -> None:
    few = doubts(files)
    assert doubts(replace(files, controls={"border": control(0.9, 0.8, 0.95, (0.0, -0.1, 0.1))})) == few


@pytest.mark.parametrize(("low", "told"), [(0.55, False), (0.551, True)])
def test_dealt_labels_that_are_recognised_are_a_leak(low: float, told: bool, files: RunFiles) -> None:
    said = doubts(replace(files, controls={"labels": control(0.7, low, 0.8)}))
    assert any(each.startswith("Training and test share something") for each in said) is told


def test_a_skipped_audit_is_told_before_all_else_but_a_leak(files: RunFiles) -> None:
    skipped = with_facts(files, audit=AuditBefore(done=False))
    assert doubts(skipped)[0].startswith("The audit was skipped. Near-duplicates, burned-in marks")
    assert doubts(with_proof(skipped, patients_shared=1))[1].startswith("The audit was skipped.")
    for audit in (None, AuditBefore(done=True)):
        assert not any("skipped" in each for each in doubts(with_facts(files, audit=audit)))


@pytest.mark.parametrize(
    ("count", "said"), [(0, ""), (1, "1 serious finding is"), (2, "2 serious findings are")]
)
def test_serious_findings_are_counted(count: int, said: str, files: RunFiles) -> None:
    grave = Finding(code="a", severity="error", what="A.")
    minor = Finding(code="b", severity="warning", what="B.")
    told = [
        each for each in doubts(with_facts(files, findings=[grave] * count + [minor])) if "serious" in each
    ]
    assert told == ([f"{said} listed under Data."] if count else [])


def test_near_duplicates_stand_in_the_proof(files: RunFiles) -> None:
    assert "near-duplicates" not in disjointness(with_proof(files))  # a run from before they were looked for
    none = with_proof(files, near_duplicates_checked=0)
    for looked in (none, with_facts(none, audit=AuditBefore(done=True))):
        assert "; no near-duplicates were found." in disjointness(looked)
    checked = disjointness(with_proof(files, near_duplicates_checked=3))
    assert "3 pairs of near-duplicates checked: none stands in two parts" in checked
    parted = with_proof(files, near_duplicates_checked=3, near_duplicates_shared=2)
    assert doubts(parted)[0].startswith("Parts of the split share data, so the figures are too good: ")
    assert "2 of 3 pairs of near-duplicates stand in two parts" in doubts(parted)[0]
    skipped = with_facts(with_proof(files, near_duplicates_checked=0), audit=AuditBefore(done=False))
    assert "near-duplicates were not looked for" in disjointness(skipped)


def test_what_the_audit_changed_is_said(files: RunFiles) -> None:
    assert "No audit" in audit_sentence(files)
    assert "skipped" in audit_sentence(with_facts(files, audit=AuditBefore(done=False)))
    assert "nothing had to be changed" in audit_sentence(with_facts(files, audit=AuditBefore(done=True)))
    changed = AuditBefore(done=True, changes=["3 copies of other images left out."])
    assert audit_sentence(with_facts(files, audit=changed)).endswith("this was changed:")


def test_activation_on_the_body_is_held_against_the_bodys_area() -> None:
    assert activation_sentence(None) == ""
    assert activation_sentence(Activation(reason="no body stands out")) == (
        "Whether the model's activation maps fall on the body is not known: no body stands out."
    )
    found = Activation(
        images=40,
        without_body=1,
        share=Interval(value=0.7, low=0.6, high=0.8),
        area=0.62,
        excess=Interval(value=0.08, low=0.02, high=0.14),
    )
    assert activation_sentence(found) == (
        "On 40 images, 0.700 (0.600 to 0.800) of the model's activation map falls on the body, which fills 0.620 of "
        "the image. That is 0.080 more than a map that is the same everywhere (difference 0.020 to 0.140). In 1 "
        "further image no body was found. Where a map lies does not prove what the score rests on."
    )
    less = found.model_copy(update={"excess": Interval(value=-0.01, low=-0.05, high=0.03)})
    assert (
        "0.010 less than a map that is the same everywhere (difference −0.050 to 0.030), which may be chance."
        in (activation_sentence(less))
    )


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ((4, 4), "The map has 4x4 cells; with fewer than 7x7 a difference near 0 proves nothing."),
        ((8, 6), "The map has 8x6 cells; with fewer than 7x7 a difference near 0 proves nothing."),
        ((7, 7), "The map has 7x7 cells."),
    ],
)
def test_a_coarse_activation_map_proves_nothing(cells: tuple[int, int], said: str) -> None:
    read = Activation.model_validate(
        {
            "images": 2,
            "map": list(cells),
            "share": {"value": 0.7},
            "excess": {"value": 0.0, "low": -0.1, "high": 0.1},
        }
    )
    assert (
        f"may be chance. {said} Where a map lies does not prove what the score rests on."
        in activation_sentence(read)
    )
    assert "cells" not in activation_sentence(read.model_copy(update={"map": None}))


@pytest.mark.parametrize(
    ("value", "low", "high", "below"),
    [(-0.1, -0.2, -0.01, True), (-0.1, -0.2, 0.0, False), (-0.1, None, None, True), (0.0, None, None, False),
     (None, None, None, False), (-0.1, -0.2, None, True)],
)  # fmt: skip
def test_below_a_limit_lies_what_is_so_with_its_whole_interval(
    value: float | None, low: float | None, high: float | None, *, below: bool
) -> None:
    assert Interval(value=value, low=low, high=high).lies_below(0) is below


class Texts(HTMLParser):
    """The texts of a page in their order, and the tags and classes around them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes).get("class")))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(" ".join(data.split()))


def test_the_page_holds_it_all_in_order_and_escaped(run_factory: RunFactory) -> None:
    run = run_factory("run")
    metrics, facts = (json.loads((run / name).read_text()) for name in ("metrics.json", "run.json"))
    same = {"auc": 0.66, "low": 0.6, "high": 0.72, "level": 0.95, "method": "bootstrap"}
    margin = {"value": 0.05, "low": -0.01, "high": 0.1, "level": 0.95, "method": "bootstrap"}
    ends = {"low": 0.8, "high": 0.9, "level": 0.95, "method": "bootstrap"}
    metrics |= {
        "controls": {
            "border": {"what": "Border <i>", "auc": 0.85, "margin": margin, "same_model": same} | ends,
            "intensity": {"what": "Levels", "auc": 0.85, "margin": margin, "same_model": None} | ends,
        },
        "corrected": margin | {"value": 0.712},
        "matched": [
            {"column": "year<i>", "auc": margin | {"value": 0.8}, "images": 30, "images_left_out": 4},
            {"column": "site", "auc": margin | {"value": 0.7}, "images": 31, "images_left_out": 5},
        ],
        "activation": {"images": 9, "without_body": 0, "without_map": 0, "share": margin | {"value": 0.6},
                       "area": 0.5, "excess": margin | {"value": 0.1}},
        "nuisance": [{"column": "site", "what": "A from B<i>", "auc": margin | {"value": 0.9}}],
    }  # fmt: skip
    facts["audit"] = {"done": True, "changes": ["1 copy of <i> left out."]}
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "run.json").write_text(json.dumps(facts))
    html = write_report(run).read_text()
    assert "<i>" not in html
    page = Texts(html)
    text = " ".join(page.texts)
    places = [
        text.index(said)
        for said in (
            "; a model that sees only the border reaches 0.85 (0.80 to 0.90).",
            "Judged on",
            "Worst control",
            "Matched AUC 0.70",
            UNSEEN,
            "At threshold 0.41 it called",
            "Within site,",
            "serious finding is listed",
            "AUC of this model, shown that",
            "border Border <i> 0.850 0.800 to 0.900 0.050 −0.010 to 0.100 reaches 0 0.660 0.600 to 0.720",
            "year<i> 0.800 −0.010 to 0.100 30 4",
            "the AUC is 0.712",
            "falls on the body",
            "a model tells A from B<i>",
            "What the audit changed The data were audited",
            "1 copy of <i> left out.",
            "Images by category.",
        )
    ]
    assert places == sorted(places)
    assert "Within year" not in text
    tiles = [each for each in page.tags if each[0] == "div" and (each[1] or "").startswith("tile")]
    assert tiles[:4] == [
        ("div", "tile"), ("div", "tile"), ("div", "tile warning"), ("div", "tile warning"),
    ]  # fmt: skip


def test_without_occluded_images_of_the_model_itself_there_is_no_column_for_them(
    run_factory: RunFactory,
) -> None:
    run = run_factory("run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["controls"] = {"border": {"auc": 0.85, "low": 0.8, "high": 0.9}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    text = " ".join(Texts(write_report(run).read_text()).texts)
    assert "this very model" not in text
    assert "AUC of this model, shown that" not in text
    assert "A model that sees only the border 0.850 0.800 to 0.900" in text
