"""The sentences of a page: the verdict, what stands against it, and how numbers are written."""

from __future__ import annotations

from datetime import datetime

from breastlens.report.canvas import threshold_text
from breastlens.report.run_files import Block, Control, Interval, RunFiles

RESEARCH_USE = (
    "Research use only. BreastLens is not a medical device: neither its models nor their scores may guide "
    "the diagnosis or treatment of anyone."
)
PART_TITLES = {
    "test": "Test part",
    "validation": "Validation part",
    "out_of_fold": "Out-of-fold predictions",
    "external": "External data",
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


def low_end(value: float | None, interval: Interval | Control | None) -> float | None:
    """The lowest a metric may be: the low end of its interval, or the metric itself where it has none.

    There is none where every draw was alike, as with an AUC of 1: that must not make a judgement milder.
    """
    return value if interval is None or interval.low is None else interval.low


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
        "external": f"On {size} of {'the training data' if _same_images(files) else 'another data set'}",
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
    facts, block = files.facts, files.block
    said = []
    proof = facts.split.proof
    if proof is not None and (proof.patients_shared or proof.duplicates_shared or proof.files_shared):
        said.append(f"Parts of the split share data, so the figures are too good: {disjointness(files)}")
    said += [control_sentence(name, control) for name, control in files.controls.items()]
    if not files.controls:
        said.append(
            "No negative control was run. Whether the model looks at the breast or at something else that "
            "differs between the categories (camera, year, crop, file format) is not known: the AUC may be "
            "a shortcut's."
        )
    if not facts.data.patient_source:
        said.append(
            "Patients are unknown. Images of one patient may stand on both sides of the split: leakage "
            "between them cannot be excluded, and the intervals, drawn over images, may be too narrow."
        )
    elif facts.data.images_without_patient:
        said.append(
            f"{nameless_images(files)} no patient id, of {facts.data.used:,} in all. Several may be of one patient, "
            "or of a patient that is named: leakage between them cannot be excluded, and the intervals, which "
            "take each as a patient of its own, may be too narrow."
        )
    if _same_images(files):
        said.append(
            "The model was trained on these very images: the figures say nothing about other patients."
        )
    elif files.part == "external":
        said.append(
            "Whether patients of this data set were also among those the model was trained on cannot be "
            "known from its files."
        )
    interval = block.intervals.get("auc")
    low = low_end(block.auc, interval)
    if low is not None and low <= 0.5:
        reach = (
            "The AUC is not above 0.5" if low == block.auc else "The interval of the AUC reaches down to 0.5"
        )
        said.append(f"{reach}: on these data the model may be no better than guessing.")
    grave = sum(finding.severity == "error" for finding in facts.findings)
    if grave:
        said.append(f"The data have {count_text(grave, 'serious finding')}, listed under Data.")
    return said


def control_sentence(name: str, control: Control) -> str:
    """What one negative control says about the verdict."""
    said = f"{control.what.rstrip('.')}. " if control.what else ""
    if control.auc is None:
        return f"{said}The negative control “{name}” has no AUC."
    said += f"The negative control “{name}” reached an AUC of {with_interval(control.auc, control)}."
    low = low_end(control.auc, control)
    if low is not None and low > 0.5:
        said += " That is above chance: part of the model's AUC need not come from the breast."
    margin = control.margin
    if margin is None or margin.value is None:
        return said
    said += f" The model is {with_interval(margin.value, margin)} above it"
    low = low_end(margin.value, margin)
    if low is not None and low <= 0:
        return f"{said}, which may be nothing: the AUC can be explained without the breast."
    return f"{said}."


def _same_images(files: RunFiles) -> bool:
    """Whether an evaluation found that its images are those of the training."""
    return any(finding.code == "evaluated-on-training-images" for finding in files.facts.findings)


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
