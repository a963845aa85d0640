"""The sentences of the report's sections, below the first screen."""

from __future__ import annotations

from breastlens.report.certainty import has_interval
from breastlens.report.facts import Activation, Interval, Proof
from breastlens.report.phrasing import count_text, figure_text, with_interval
from breastlens.report.run_files import RunFiles

_FINE_MAP = 7
"""Cells a side from which an activation map tells body from background. With a mark pasted on the background and a
perfect model the excess on the body was -0.04 with 4x4 cells, -0.17 with 7x7 and -0.34 with 8x8."""


def nameless_images(files: RunFiles) -> str:
    """How many of the images that are used have no patient id, for example ``3 images have``."""
    count = files.facts.data.images_without_patient or 0
    return f"{count_text(count, 'image')} {'has' if count == 1 else 'have'}"


def disjointness(files: RunFiles) -> str:
    """The proof that no patient, no duplicate, no near-duplicate and no file stands in two parts, in words."""
    if files.facts.split.kind == "external":
        return "These images form one part, scored by a finished model; nothing was divided."
    proof = files.facts.split.proof
    if proof is None:
        return "No proof of disjointness was recorded: leakage between the parts cannot be excluded."
    said = []
    if not files.facts.data.patient_source:
        said.append("Patients are unknown, so whether one stands in two parts could not be checked")
    elif proof.patients_shared:
        said.append(
            f"{proof.patients_shared:,} of {count_text(proof.patients_checked, 'patient')} stand in two parts"
        )
    else:
        said.append(f"{count_text(proof.patients_checked, 'patient')} checked: none stands in two parts")
    if files.facts.data.patient_source and files.facts.data.images_without_patient:
        said.append(f"{nameless_images(files)} no patient id and could not be checked")
    groups = count_text(proof.duplicate_groups_checked, "group")
    if proof.duplicates_shared:
        said.append(f"{proof.duplicates_shared:,} of {groups} of identical images stand in two parts")
    elif proof.duplicate_groups_checked:
        said.append(f"{groups} of identical images checked: none stands in two parts")
    else:
        said.append("no two of the images used have identical pixels")
    said += _near_duplicates(files, proof)
    framed = count_text(proof.files_checked, "file")
    if proof.files_shared:
        said.append(f"{proof.files_shared:,} of {framed} with several frames stand in two parts")
    elif proof.files_checked:
        said.append(f"{framed} with several frames checked: none stands in two parts")
    return "; ".join(said) + "."


def _near_duplicates(files: RunFiles, proof: Proof) -> list[str]:
    """What is known of near-duplicates; nothing for a run from before they were looked for."""
    audit, checked = files.facts.audit, proof.near_duplicates_checked
    if audit is not None and not audit.done and not checked:
        return ["near-duplicates were not looked for"]
    if checked is None:
        return []
    if not checked:
        return ["no near-duplicates were found"]
    pairs = f"{count_text(checked, 'pair')} of near-duplicates"
    if proof.near_duplicates_shared:
        return [f"{proof.near_duplicates_shared:,} of {pairs} stand in two parts"]
    return [f"{pairs} checked: none stands in two parts"]


def audit_sentence(files: RunFiles) -> str:
    """Whether the data were audited before the training and, where there is no list of changes, what that means."""
    audit = files.facts.audit
    if audit is None:
        return "No audit of the data was recorded with this run."
    if not audit.done:
        return "The audit was skipped, so nothing was changed because of it."
    if not audit.changes:
        return "The data were audited before the training, and nothing had to be changed."
    return "The data were audited before the training, and this was changed:"


def activation_sentence(activation: Activation | None) -> str:
    """How much of the model's activation map falls on the body, against how much of the image the body fills."""
    if activation is None:
        return ""
    share, excess = activation.share, activation.excess
    if share is None or share.value is None:
        return f"Whether the model's activation maps fall on the body is not known: {activation.reason.rstrip('.')}."
    said = f"On {count_text(activation.images, 'image')}, {with_interval(share.value, share)} of the model's "
    said += "activation map falls on the body"
    if activation.area is not None:
        said += f", which fills {figure_text(activation.area)} of the image"
    said += "."
    if excess is not None and excess.value is not None:
        said += f" {_excess_sentence(excess, excess.value)}"
    if activation.map is not None:
        said += f" {_cells_sentence(*activation.map)}"
    if activation.without_body:
        said += f" In {count_text(activation.without_body, 'further image')} no body was found."
    if activation.without_map:
        said += f" In {count_text(activation.without_map, 'further image')} the map is zero everywhere."
    return f"{said} Where a map lies does not prove what the score rests on."


def _excess_sentence(excess: Interval, value: float) -> str:
    """How far a map favours the body, and whether that may be chance."""
    said = f"That is {figure_text(abs(value))} {'less' if value < 0 else 'more'} than a map that is the same everywhere"
    if not has_interval(excess) or excess.low is None or excess.high is None:
        return f"{said}, without an interval."
    said += f" (difference {figure_text(excess.low)} to {figure_text(excess.high)})"
    return f"{said}, which may be chance." if excess.low <= 0 <= excess.high else f"{said}."


def _cells_sentence(height: int, width: int) -> str:
    """How fine a map is, and that one of few cells cannot tell where the model looked."""
    said = f"The map has {height}x{width} cells"
    if min(height, width) >= _FINE_MAP:
        return f"{said}."
    return f"{said}; with fewer than {_FINE_MAP}x{_FINE_MAP} a difference near 0 proves nothing."


def validation_sentence(files: RunFiles) -> str:
    """What was chosen on the validation part, and which of its figures are too good for that."""
    chosen = ["the threshold"]
    if files.facts.kept != "probe":
        chosen = ["the number of epochs", "the calibration", *chosen]
    if files.facts.recipe.get("strategy") == "finetune":
        chosen.append("whether to keep the fine-tuned network")
    listed = f"{', '.join(chosen[:-1])} and {chosen[-1]}" if len(chosen) > 1 else chosen[0]
    listed = f"{listed[0].upper()}{listed[1:]}"
    if len(chosen) > 1:
        said = f"{listed} were chosen here, so these figures are too good."
    else:
        said = f"{listed} was chosen here, so the figures that depend on it are too good."
    if files.facts.kept == "probe":
        said += (
            " The probe itself, its strength and its calibration come from inner folds of the training "
            f"{'patients' if files.facts.data.patient_source else 'images'}."
        )
    return f"{said} This part is shown for comparison only."
