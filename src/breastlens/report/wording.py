"""The first screen of a report: the verdict, what it means, and what stands against it."""

from __future__ import annotations

from collections.abc import Sequence

from breastlens.audit.judgement import LABELS, LEAK_AUC
from breastlens.report import certainty
from breastlens.report.canvas import threshold_text
from breastlens.report.control_wording import find_worst, seen_by
from breastlens.report.facts import Block, Matched
from breastlens.report.meaning import meaning, meaning_word, no_interval_sentence, surely_above
from breastlens.report.phrasing import (
    count_text,
    figure_text,
    moment_text,
    short_text,
    short_with_interval,
    with_interval,
)
from breastlens.report.repeats import headline_auc, read_repeats, runs_text
from breastlens.report.run_files import RunFiles
from breastlens.report.sections import disjointness, nameless_images

__all__ = [
    "PART_TITLES",
    "RESEARCH_USE",
    "calls",
    "count_text",
    "doubts",
    "few_sentence",
    "figure_text",
    "find_lowest",
    "judged_on",
    "matched_sentence",
    "meaning",
    "moment_text",
    "reservations",
    "size_of",
    "trained_on_sentence",
    "training_images",
    "verdict",
    "verdict_word",
    "with_interval",
]

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


def verdict(files: RunFiles) -> str:
    """The one sentence a reader takes home: the AUC, and that of the worst control beside it."""
    block = files.block
    if block.auc is None:
        return f"No AUC can be given: {block.reasons.get('auc', 'it is not defined there').rstrip('.')}."
    auc, repeats = headline_auc(files), read_repeats(files)
    said = f"AUC {short_with_interval(auc.value, auc)}"
    if repeats is not None:
        said += f", the mean of {runs_text(repeats, ' that ran from ')}"
    name = find_worst(files.controls)
    if name is None:
        return f"{said}; what a model reaches without the breast is not known."
    control = files.controls[name]
    return f"{said}; a model that {seen_by(name)} reaches {short_with_interval(control.auc, control)}."


def verdict_word(files: RunFiles) -> str:
    """What the first screen says in a word or two: what makes the figures too good comes before what they mean."""
    if training_images(files):
        return "trained on these"
    return "leak" if _leaks(files) else meaning_word(files)


def judged_on(files: RunFiles) -> str:
    """On what the verdict rests: how many images of whom, and what the ranges are.

    It claims no more than was checked: that patients were unseen is said only where all of them are known.
    """
    block, labels, data = files.block, files.facts.labels, files.facts.data
    unseen = "its patient" if data.patient_source and data.images_without_patient == 0 else "it"
    where = {
        "test": "that were kept out of training and tuning",
        "out_of_fold": f"that were each scored by a model trained without {unseen}",
        "external": _origin(files),
    }[files.part]
    said = f"Judged on {size_of(block)} {where}: {labels.positive_name} against {labels.negative_name}."
    interval = headline_auc(files)
    if certainty.has_interval(interval):
        said += f" Ranges are {interval.level:.0%} intervals over {certainty.unit_of(block)}s."
    if read_repeats(files) is not None:
        said += " Controls are held against the first repeat, and results are shown of it."
    return said


def calls(files: RunFiles) -> str:
    """What happened at the threshold, in counts."""
    (tn, fp), (fn, tp) = files.block.confusion_matrix
    parts = []
    if tp + fn:
        share = short_text(files.block.sensitivity)
        parts.append(
            f"called {tp:,} of {tp + fn:,} {files.facts.labels.positive_name} images positive (sensitivity {share})"
        )
    if tn + fp:
        share = short_text(files.block.specificity)
        parts.append(
            f"{tn:,} of {tn + fp:,} {files.facts.labels.negative_name} images negative (specificity {share})"
        )
        if not tp + fn:
            parts[0] = f"called {parts[0]}"
    if read_repeats(files) is not None:
        return f"In the first repeat, at {threshold_text(files.block.threshold)}, it {' and '.join(parts)}."
    return f"At {threshold_text(files.block.threshold)} it {' and '.join(parts)}."


def reservations(files: RunFiles) -> list[str]:
    """All that must be read with the verdict: what it means, what stands against it, and on what it rests."""
    means = " ".join(meaning(files))
    return [*([means] if means else []), *doubts(files), judged_on(files)]


def doubts(files: RunFiles) -> list[str]:
    """What stands against the verdict beside the controls, the gravest first; each a plain sentence or two."""
    facts = files.facts
    said = [*_leaks(files), *_skipped_audit(files)]
    lowest = find_lowest(files.matched)
    if lowest is not None:
        said.append(matched_sentence(lowest) + _matched_chance(files, lowest))
    said += _unknown_patients(files)
    seen = training_images(files)
    if seen:
        said.append(trained_on_sentence(seen, files.block.n))
    elif files.part == "external":
        said.append(
            "Whether patients of this data set were also among those the model was trained on cannot be "
            "known from its files."
        )
    no_interval = no_interval_sentence(files)
    if no_interval and no_interval not in meaning(files):  # which says it where the AUC may be chance
        said.append(no_interval)
    few = few_sentence(files)
    if few:
        said.append(few)
    grave = sum(finding.severity == "error" for finding in facts.findings)
    if grave:
        said.append(
            f"{count_text(grave, 'serious finding')} {'is' if grave == 1 else 'are'} listed under Data."
        )
    return said


def _leaks(files: RunFiles) -> list[str]:
    """What the parts of the split share, and what a model reaches that can only live on that."""
    said = []
    proof = files.facts.split.proof
    if proof is not None and (
        proof.patients_shared or proof.duplicates_shared or proof.near_duplicates_shared or proof.files_shared
    ):
        said.append(f"Parts of the split share data, so the figures are too good: {disjointness(files)}")
    dealt = files.controls.get(LABELS)
    if dealt is not None and surely_above(files, dealt, LEAK_AUC):
        said.append(
            "Training and test share something, so the figures are too good: with labels dealt anew among "
            f"patients a model still reaches {short_with_interval(dealt.auc, dealt)}."
        )
    return said


def _skipped_audit(files: RunFiles) -> list[str]:
    audit = files.facts.audit
    if audit is None or audit.done:
        return []
    return [
        "The audit was skipped. Near-duplicates, burned-in marks, damaged images and differences between the files of "
        "the two classes were not looked for, and only the simplest controls were run: what else may raise this AUC is "
        "not known."
    ]


def find_lowest(matched: Sequence[Matched]) -> Matched | None:
    """Of the scores within strata the lowest; one without an AUC only where all are; None where there is none."""
    areas = [None if each.auc is None else each.auc.value for each in matched]
    known = [(area, place) for place, area in enumerate(areas) if area is not None]
    if known:
        return matched[min(known)[1]]
    return matched[0] if matched else None


def matched_sentence(matched: Matched) -> str:
    """The score within strata of a column, beside what was left out."""
    if matched.auc is None or matched.auc.value is None:
        return f"Within {matched.column} no AUC can be had: {matched.reason}."
    area, images = with_interval(matched.auc.value, matched.auc), count_text(matched.images, "image")
    said = f"Within {matched.column}, comparing only images of the same value, the AUC is {area} on {images}"
    if matched.images_left_out:
        said += f"; {count_text(matched.images_left_out, 'image')} without a counterpart were left out"
    return f"{said}."


def _matched_chance(files: RunFiles, matched: Matched) -> str:
    """That a score within strata may be chance; nothing where it is none, or where there is no score."""
    if matched.auc is None or matched.auc.value is None:
        return ""
    low = certainty.low_end_of_matched(files, matched)
    return " There the model may be no better than guessing." if low is None or low <= 0.5 else ""


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


def size_of(block: Block) -> str:
    """Images and patients of a block, for example ``58 images of 52 patients``."""
    images = count_text(block.n, "image")
    return (
        f"{images} of {count_text(block.patients, 'patient')}"
        if block.patients
        else f"{images} (patients unknown)"
    )


def _origin(files: RunFiles) -> str:
    """Where the images of an evaluation come from, as far as it is known."""
    seen = training_images(files)
    if seen == files.block.n:
        return "of the training data"
    known = f", {seen:,} of which the model was trained on" if seen else ""
    return f"that were given for evaluation{known}"


def trained_on_sentence(seen: int, judged: int) -> str:
    """That a model was judged on images that it was trained on.

    Args:
        seen: How many of them.
        judged: How many there are in all.
    """
    these = "these very images" if seen == judged else f"{seen:,} of these {judged:,} images"
    return f"The model was trained on {these}: the figures say nothing about other patients."


def training_images(files: RunFiles) -> int:
    """How many images of an evaluation were found to be the training's."""
    return sum(
        finding.count for finding in files.facts.findings if finding.code == "evaluated-on-training-images"
    )
