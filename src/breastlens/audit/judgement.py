"""What the scores of negative controls mean: intervals, margins, and the rule by which they become findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.audit.finding import Evidence, Finding
from breastlens.evaluation.intervals import auc_interval, paired_difference

SHORTCUT_AUC = 0.6
"""A control whose whole interval lies above this is a shortcut; 0.5 would also flag what is too weak to matter."""

CHANCE = 0.5
LABELS = "labels"
UNSEEN = frozenset({"file", LABELS})
"""Controls that are not held against the breast. No network is shown what is known of a file: age or treatment in a
manifest may tell the label better than any image does, and the image may still show the breast."""

LEAK_AUC = 0.55
"""With labels dealt anew an interval wholly above this is a leak: chance reaches it in well under 1 of 100 audits, and
would lie wholly above 0.5 in 1 of 40."""


def describe_control(
    what: str,
    y_true: NDArray[np.integer],
    y_score: NDArray[np.floating],
    control_score: NDArray[np.floating],
    patient_id: list[str],
    *,
    linked: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """Hold a control against the real model on the same images.

    Args:
        what: One sentence: what the control saw.
        y_true: 0 or 1, (n,).
        y_score: The real model's scores, (n,).
        control_score: The control's scores, (n,).
        patient_id: "" where unknown.
        linked: (n,), which images without a patient belong together; None for each alone.

    Returns:
        ``what``, ``auc``, ``low``, ``high`` of the control, and ``margin``: the real model's AUC minus the control's,
        with its paired interval over patients.
    """
    return describe_scores(what, y_true, control_score, patient_id, linked=linked) | {
        "margin": paired_difference(y_true, y_score, control_score, patient_id, linked=linked)
    }


def describe_scores(
    what: str,
    y_true: NDArray[np.integer],
    y_score: NDArray[np.floating],
    patient_id: list[str],
    *,
    linked: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """An AUC and its interval over patients: ``what``, ``auc``, ``low``, ``high``, ``level``, ``method``.

    Args:
        what: One sentence: what the scores were made from.
        y_true: 0 or 1, (n,).
        y_score: The scores, (n,).
        patient_id: "" where unknown.
        linked: As of ``describe_control``.
    """
    found = auc_interval(y_true, y_score, patient_id, linked=linked)
    return {"what": what, "auc": found["value"]} | {
        name: found[name] for name in ("low", "high", "level", "method")
    }


def corrected_auc(whole: Mapping[str, Any], shuffled: Mapping[str, Any]) -> dict[str, Any] | None:
    """Estimate the AUC elsewhere from the control whose pixels were shuffled.

    The model's AUC minus what that control has above chance (Ong Ly et al., npj Digital Medicine 7, 124, 2024, in the
    form of the authors' published code: P_source - P_shuffled + 0.5). A control below chance explains nothing and adds
    nothing.

    Args:
        whole: The model's ``auc`` with ``low`` and ``high``, from ``describe_scores``.
        shuffled: That control, from ``describe_control``.

    Returns:
        ``value``, ``low``, ``high`` from 0 to 1, ``level``, ``method``; None where there is no margin.
    """
    margin = shuffled["margin"]
    if margin["value"] is None:
        return None
    if shuffled["auc"] <= CHANCE:
        ends = {"value": whole["auc"], "low": whole["low"], "high": whole["high"]}
        return ends | {"level": whole["level"], "method": whole["method"]}
    ends = {
        name: None if margin[name] is None else min(1.0, max(0.0, margin[name] + CHANCE))
        for name in ("value", "low", "high")
    }
    return ends | {"level": margin["level"], "method": margin["method"]}


def judge_controls(controls: Mapping[str, Mapping[str, Any]], count: int) -> list[Finding]:
    """What the controls say, by a fixed rule.

    - A control whose interval lies above 0.6 is a shortcut: a warning, ``shortcut-NAME``.
    - Where the interval of a margin reaches 0, the data cannot show that the model sees the breast: one finding,
      ``breast-not-shown``, for the control with the smallest margin. It is an error where a control that is above
      chance does it, and else a warning: then the images are too few to tell. The control ``file`` does not count
      here, since no network is shown it.
    - With labels dealt anew among patients an interval above 0.55 means that the evaluation itself leaks: an error.

    A control without a single mistake has no interval, since every draw of patients gives the same; it counts as above,
    and a margin without an interval is judged by its value.

    Args:
        controls: By name, from ``describe_control``; ``labels`` for shuffled labels, without a margin.
        count: How many images they were judged on.
    """
    found = [
        _shortcut(name, control, count)
        for name, control in controls.items()
        if name != LABELS and _lies_above(control, SHORTCUT_AUC)
    ]
    reaching = {
        name: control
        for name, control in controls.items()
        if name not in UNSEEN and control.get("margin") and _reaches_nought(control["margin"])
    }
    grave = {name: control for name, control in reaching.items() if _lies_above(control, CHANCE)}
    if reaching:
        told = grave or reaching
        name = min(told, key=lambda each: (told[each]["margin"]["value"], each))
        found.append(_not_shown(name, told, count, grave=bool(grave)))
    labels = controls.get(LABELS)
    if labels is not None and _lies_above(labels, LEAK_AUC):
        found.append(_leak(labels, count))
    return found


def _lies_above(control: Mapping[str, Any], level: float) -> bool:
    if control["low"] is None:
        return bool(control["auc"] == 1)
    return bool(control["low"] > level)


def _reaches_nought(margin: Mapping[str, Any]) -> bool:
    least = margin["value"] if margin["low"] is None else margin["low"]
    return least is not None and bool(least <= 0)


def _shortcut(name: str, control: Mapping[str, Any], count: int) -> Finding:
    return Finding(
        code=f"shortcut-{name}",
        severity="warning",
        what=f"{control['what']}; a model still told the classes apart with an AUC of "
        f"{_range(control['auc'], control)}.",
        count=count,
        advice="The classes differ in how the images were taken; score within strata (--within), and measure with "
        "--remedies whether preparing the images otherwise helps.",
        evidence=_evidence("AUC", control),
    )


def _not_shown(name: str, told: Mapping[str, Mapping[str, Any]], count: int, *, grave: bool) -> Finding:
    margin = told[name]["margin"]
    begin = "The data cannot show that a model sees the breast"
    if not grave:
        begin = f"{begin}, though this control is not shown to do better than chance"
    more = f", the smallest of {len(told)} margins that are not above 0" if len(told) > 1 else ""
    return Finding(
        code="breast-not-shown",
        severity="error" if grave else "warning",
        what=f"{begin}: the AUC of whole images minus that of the control “{name}” is "
        f"{_range(margin['value'], margin)}{more}.",
        count=count,
        advice="Do not report the model's score as skill; collect classes that were taken alike."
        if grave
        else "Do not report the model's score as skill; collect more patients.",
        evidence=Evidence(
            name="margin in AUC",
            **{key: margin[key] for key in ("value", "low", "high", "level", "method")},
        ),
    )


def _leak(control: Mapping[str, Any], count: int) -> Finding:
    return Finding(
        code="evaluation-leaks",
        severity="error",
        what=f"With labels dealt anew among patients a model still reached an AUC of "
        f"{_range(control['auc'], control)}: the evaluation lets something through from training to test.",
        count=count,
        advice="Do not believe any score of this run, and tell the makers of BreastLens.",
        evidence=_evidence("AUC", control),
    )


def _evidence(name: str, control: Mapping[str, Any]) -> Evidence:
    return Evidence(
        name=name,
        value=control["auc"],
        low=control["low"],
        high=control["high"],
        level=control["level"],
        method=control["method"] or "",
    )


def _range(value: float, ends: Mapping[str, Any]) -> str:
    if ends["low"] is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({ends['low']:.3f} to {ends['high']:.3f})"
