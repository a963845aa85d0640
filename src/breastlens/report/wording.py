"""The sentences of a page: the verdict, what stands against it, and how numbers are written."""

from __future__ import annotations

from datetime import datetime

from breastlens.report import certainty
from breastlens.report.canvas import threshold_text
from breastlens.report.run_files import Block, Control, Interval, Matched, RunFiles

RESEARCH_USE = (
    "Research use only. BreastLens is not a medical device: neither its models nor their scores may guide "
    "the diagnosis or treatment of anyone."
)
PART_TITLES = {
    "test": "Test part",
    "validation": "Validation part",
    "out_of_fold": "Out-of-fold predictions",
    "external": "Evaluation",
}


def figure_text(value: float | None) -> str:
    """A metric to three decimals, with a true minus sign; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def moment_text(iso: str) -> str:
    """A moment as people write it, for example ``22 November 2026, 17:00 UTC``; other text unchanged."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".rstrip()


def count_text(count: int, noun: str) -> str:
    """A count with its noun, for example ``1 image`` and ``1,204 images``."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def with_interval(value: float | None, interval: Interval | Control | None) -> str:
    """A metric and its interval, for example ``0.912 (0.871 to 0.946)``; the value alone if it has none."""
    if value is None or interval is None or interval.low is None or interval.high is None:
        return figure_text(value)
    return f"{figure_text(value)} ({figure_text(interval.low)} to {figure_text(interval.high)})"


def nameless_images(files: RunFiles) -> str:
    """How many of the images that are used have no patient id, for example ``3 images have``."""
    count = files.facts.data.images_without_patient or 0
    return f"{count_text(count, 'image')} {'has' if count == 1 else 'have'}"


def size_of(block: Block) -> str:
    """Images and patients of a block, for example ``58 images of 52 patients``."""
    images = count_text(block.n, "image")
    return (
        f"{images} of {count_text(block.patients, 'patient')}"
        if block.patients
        else f"{images} (patients unknown)"
    )


def verdict(files: RunFiles) -> str:
    """The one sentence a reader takes home: what was told apart, how well, with its interval, on how many.

    It claims no more than was checked: that patients were unseen is said only where all of them are known.
    """
    block, labels, size = files.block, files.facts.labels, size_of(files.block)
    data = files.facts.data
    unseen = "its patient" if data.patient_source and data.images_without_patient == 0 else "it"
    where = {
        "test": f"On {size} that were kept out of training and tuning",
        "out_of_fold": f"On {size}, each scored by a model trained without {unseen}",
        "external": f"On {size} {_origin(files)}",
    }[files.part]
    if block.auc is None:
        reason = block.reasons.get("auc", "it is not defined there").rstrip(".")
        return f"{where}, no AUC can be given: {reason}."
    interval = block.intervals.get("auc")
    certainty = ""
    if interval is not None and interval.low is not None and interval.high is not None:
        low, high = figure_text(interval.low), figure_text(interval.high)
        certainty = f" ({interval.level:.0%} interval {low} to {high})"
    return (
        f"{where}, the model told {labels.positive_name} from {labels.negative_name} with an AUC of "
        f"{figure_text(block.auc)}{certainty}."
    )


def calls(files: RunFiles) -> str:
    """What happened at the threshold, in counts."""
    (tn, fp), (fn, tp) = files.block.confusion_matrix
    parts = []
    if tp + fn:
        share = figure_text(files.block.sensitivity)
        parts.append(
            f"called {tp:,} of {tp + fn:,} {files.facts.labels.positive_name} images positive (sensitivity {share})"
        )
    if tn + fp:
        share = figure_text(files.block.specificity)
        parts.append(
            f"{tn:,} of {tn + fp:,} {files.facts.labels.negative_name} images negative (specificity {share})"
        )
        if not tp + fn:
            parts[0] = f"called {parts[0]}"
    return f"At {threshold_text(files.block.threshold)} it {' and '.join(parts)}."


def reservations(files: RunFiles) -> list[str]:
    """What stands against the verdict, the gravest first; each a plain sentence or two."""
    facts = files.facts
    said = []
    proof = facts.split.proof
    if proof is not None and (proof.patients_shared or proof.duplicates_shared or proof.files_shared):
        said.append(f"Parts of the split share data, so the figures are too good: {disjointness(files)}")
    said += [control_sentence(files, name, control) for name, control in files.controls.items()]
    if not files.controls:
        said.append(
            "No negative control was run. Whether the model looks at the breast or at something else that "
            "differs between the categories (camera, year, crop, file format) is not known: the AUC may be "
            "a shortcut's."
        )
    said += [matched_sentence(matched) for matched in files.matched]
    said += _unknown_patients(files)
    seen = _training_images(files)
    if seen:
        these = (
            "these very images" if seen == files.block.n else f"{seen:,} of these {files.block.n:,} images"
        )
        said.append(f"The model was trained on {these}: the figures say nothing about other patients.")
    elif files.part == "external":
        said.append(
            "Whether patients of this data set were also among those the model was trained on cannot be "
            "known from its files."
        )
    said += _doubts_about_auc(files)
    few = few_sentence(files)
    if few:
        said.append(few)
    grave = sum(finding.severity == "error" for finding in facts.findings)
    if grave:
        said.append(f"The data have {count_text(grave, 'serious finding')}, listed under Data.")
    return said


def matched_sentence(matched: Matched) -> str:
    """The score within strata of a column, beside what was left out."""
    if matched.auc is None or matched.auc.value is None:
        return f"Within {matched.column} no AUC can be had: {matched.reason}."
    area, images = with_interval(matched.auc.value, matched.auc), count_text(matched.images, "image")
    said = f"Within {matched.column}, comparing only images of the same value, the AUC is {area} on {images}"
    if matched.images_left_out:
        said += f"; {count_text(matched.images_left_out, 'image')} without a counterpart were left out"
    return f"{said}."


def _unknown_patients(files: RunFiles) -> list[str]:
    """What follows where patients are unknown; in an evaluation nothing was divided, so nothing can leak."""
    data, divided = files.facts.data, files.part != "external"
    if not data.patient_source:
        if not divided:
            return ["Patients are unknown, so the intervals, drawn over images, may be too narrow."]
        return [
            "Patients are unknown. Images of one patient may stand on both sides of the split: leakage "
            "between them cannot be excluded, and the intervals, drawn over images, may be too narrow."
        ]
    if not data.images_without_patient:
        return []
    said = f"{nameless_images(files)} no patient id, of {data.used:,} in all. Several may be of one patient, "
    said += "or of a patient that is named"
    if divided:
        said += ": leakage between them cannot be excluded, and"
    else:
        said += ", so"
    return [f"{said} the intervals, which take each as a patient of its own, may be too narrow."]


def _doubts_about_auc(files: RunFiles) -> list[str]:
    """Whether the AUC may be chance, and why it has no interval where it has none."""
    block, low = files.block, certainty.low_end_of_auc(files)
    if block.auc is None:
        return []
    said = []
    if block.auc <= 0.5:
        said.append("The AUC is not above 0.5: on these data the model may be no better than guessing.")
    elif low is not None and low <= 0.5:
        said.append(
            "The interval of the AUC reaches down to 0.5: on these data the model may be no better than guessing."
        )
    if not certainty.has_interval(block.intervals.get("auc")):
        why = certainty.plain_reason(block.reasons.get("auc interval", ""), certainty.unit_of(block))
        meaning = " How far it may be off is not known."
        if low is None:  # that an AUC of 0.5 or less may be chance is said above
            meaning = " This may be chance." if block.auc > 0.5 else ""
        said.append(f"The AUC has no interval{f': {why}' if why else ''}.{meaning}")
    return said


def few_sentence(files: RunFiles) -> str:
    """A warning where so few were judged that every figure is coarse, else nothing."""
    if not certainty.are_few(files):
        return ""
    patients, images = certainty.judged(files)
    counted = [count_text(patients, "patient")] if patients else []
    if images:
        counted.append(count_text(images, "image") + (" without a patient" if patients else ""))
    were = "was" if patients + images == 1 else "were"
    return f"Only {' and '.join(counted)} {were} judged, so every figure here is coarse."


def control_sentence(files: RunFiles, name: str, control: Control) -> str:
    """What one negative control says about the verdict."""
    said = f"{control.what.rstrip('.')}. " if control.what else ""
    if control.auc is None:
        return f"{said}The negative control “{name}” has no AUC."
    said += f"The negative control “{name}” reached an AUC of {with_interval(control.auc, control)}."
    low = certainty.low_end_of_control(files, control)
    if low is None:
        said += " It has no interval, so this may be chance."
    elif low > 0.5:
        same = f"Nearly every draw of {certainty.unit_of(files.block)}s gave the same, which"
        said += f" {'That' if certainty.has_interval(control) else same} is above chance: part of the model's AUC need "
        said += "not come from the breast."
    if control.margin is None or control.margin.value is None:
        return said
    return f"{said} {_margin_sentence(files, control.margin, control.margin.value)}"


def _margin_sentence(files: RunFiles, margin: Interval, value: float) -> str:
    """How far the model is above or below a control, and what follows."""
    ends = ""
    if certainty.has_interval(margin):
        ends = f" (difference {figure_text(margin.low)} to {figure_text(margin.high)})"
    if figure_text(abs(value)) == figure_text(0.0):
        said = f"The model's AUC is the same{ends}"
    elif value < 0:
        said = f"The model is {figure_text(-value)} below it{ends}"
    else:
        said = f"The model is {with_interval(value, margin)} above it"
    low = certainty.low_end_of_margin(files, margin)
    if low is None:
        return f"{said}. The difference has no interval, so it may be chance."
    if low > 0:
        return f"{said}."
    if value > 0:
        said += ", which may be nothing"
    own = certainty.low_end_of_auc(files)
    if own is None or own <= 0.5:  # there is nothing to explain
        return f"{said}."
    return f"{said}: the AUC can be explained without the breast."


def _origin(files: RunFiles) -> str:
    """Where the images of an evaluation come from, as far as it is known."""
    seen = _training_images(files)
    if seen == files.block.n:
        return "of the training data"
    known = f", {seen:,} of which the model was trained on" if seen else ""
    return f"that were given for evaluation{known}"


def _training_images(files: RunFiles) -> int:
    """How many images of an evaluation were found to be the training's."""
    return sum(
        finding.count for finding in files.facts.findings if finding.code == "evaluated-on-training-images"
    )


def disjointness(files: RunFiles) -> str:
    """The proof that no patient, no duplicate and no file stands in two parts, in words."""
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
        said.append("no two images have identical pixels")
    framed = count_text(proof.files_checked, "file")
    if proof.files_shared:
        said.append(f"{proof.files_shared:,} of {framed} with several frames stand in two parts")
    elif proof.files_checked:
        said.append(f"{framed} with several frames checked: none stands in two parts")
    return "; ".join(said) + "."


def threshold_sentence(files: RunFiles) -> str:
    """Where the saved model draws the line, how that was chosen, and whether the figures had it elsewhere."""
    point, judged = files.facts.operating_point, files.block.threshold
    said = f"Scores of {point.threshold:.3g} and above are called positive by the saved model."
    if point.rule:
        said += f" The rule was: {point.rule}{f', chosen on {point.chosen_on}' if point.chosen_on else ''}."
    if judged != point.threshold:
        said += f" The figures on this page were made at {threshold_text(judged)}."
    return said


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


def calibration_sentence(files: RunFiles) -> str:
    """How far scores can be read as probabilities: Brier score and mean score against the prevalence."""
    block = files.block
    prevalence = block.positives / (block.positives + block.negatives)
    mean = files.predictions["y_score"].mean()
    guessing = prevalence * (1 - prevalence)
    return (
        f"The Brier score is {figure_text(block.brier)}; giving every image the prevalence would score "
        f"{figure_text(guessing)} (lower is better). The mean score is {figure_text(mean)}, and "
        f"{figure_text(prevalence)} of the images are positive."
    )
