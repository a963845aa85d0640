"""What stands below each figure, and what it shows in words and numbers for those who cannot see it."""

from __future__ import annotations

from breastlens.report.canvas import threshold_text
from breastlens.report.most_wrong import most_wrong_rows
from breastlens.report.phrasing import count_text, figure_text, with_interval
from breastlens.report.rendering import Picture, embed
from breastlens.report.run_files import FIGURE_NAMES, RunFiles
from breastlens.report.wording import PART_TITLES


def pictures(files: RunFiles) -> list[Picture]:
    """The run's figures in their order on the page, with captions and alternative texts."""
    texts = {
        "confusion_matrix": _confusion_matrix,
        "roc": _roc,
        "precision_recall": _precision_recall,
        "scores": _scores,
        "history": _history,
        "most_wrong": _most_wrong,
    }
    shown = []
    for name in FIGURE_NAMES:
        if name in files.figures:
            caption, alternative = texts[name](files)
            shown.append(embed(files.figures[name], caption=caption, alternative=alternative))
    return shown


def _part(files: RunFiles) -> str:
    return PART_TITLES[files.part].lower()


def _confusion_matrix(files: RunFiles) -> tuple[str, str]:
    (tn, fp), (fn, tp) = files.block.confusion_matrix
    negative, positive = files.facts.labels.negative_name, files.facts.labels.positive_name
    return (
        f"Confusion matrix ({_part(files)}): counts and row percentages.",
        f"Confusion matrix. Of {tn + fp} {negative} images {tn} were called negative and {fp} positive; "
        f"of {fn + tp} {positive} images {fn} were called negative and {tp} positive.",
    )


def _roc(files: RunFiles) -> tuple[str, str]:
    block = files.block
    caption = f"ROC curve ({_part(files)}); the dot is the operating point."
    if block.auc is None:
        return caption, f"No ROC curve: {block.reasons.get('auc', 'not defined')}."
    return caption, (
        f"ROC curve with an AUC of {with_interval(block.auc, block.intervals.get('auc'))}. At "
        f"{threshold_text(block.threshold)} the sensitivity is {figure_text(block.sensitivity)} and the specificity "
        f"{figure_text(block.specificity)}."
    )


def _precision_recall(files: RunFiles) -> tuple[str, str]:
    block = files.block
    caption = f"Precision and recall ({_part(files)}); the dashed line is the prevalence."
    if block.average_precision is None:
        return caption, f"No precision-recall curve: {block.reasons.get('average_precision', 'not defined')}."
    average = with_interval(block.average_precision, block.intervals.get("average_precision"))
    return caption, (
        f"Precision-recall curve with an average precision of {average}; the prevalence is "
        f"{figure_text(block.positives / block.n)}. At {threshold_text(block.threshold)} the precision is "
        f"{figure_text(block.ppv)} and the recall {figure_text(block.sensitivity)}."
    )


def _scores(files: RunFiles) -> tuple[str, str]:
    medians = files.predictions.groupby("y_true")["y_score"].median()
    where = threshold_text(files.block.threshold)
    line = "" if files.block.threshold is None else f"; the dashed line is the {where}"
    said = [
        f"{name} images have a median score of {figure_text(medians[label])}"
        for label, name in enumerate((files.facts.labels.negative_name, files.facts.labels.positive_name))
        if label in medians
    ]
    return (
        f"Scores by class ({_part(files)}){line}.",
        f"Histograms of the scores: {'; '.join(said)}{line}.",
    )


def _history(files: RunFiles) -> tuple[str, str]:
    caption = "Training: AUC and loss by epoch; for a probe, AUC in the inner folds by regularisation."
    said = []
    for phase, rows in files.history.groupby("phase") if len(files.history) else ():
        key, title = ("strength", "C") if phase == "probe" and "strength" in rows else ("epoch", "epoch")
        judged = rows.groupby(key)["val_auc"].mean().dropna()
        if judged.empty:
            said.append(f"{phase}: {count_text(len(rows), 'row')} without a validation AUC")
        else:
            best = f"{figure_text(judged.max())} at {title} {judged.idxmax():g}"
            said.append(f"{phase}: the best mean validation AUC was {best}")
    return (
        caption,
        f"Training history. {'; '.join(said) or 'Nothing was trained by epochs or searched over'}.",
    )


def _most_wrong(files: RunFiles) -> tuple[str, str]:
    caption = (
        "The images the model was most wrong about, as the network saw them, the worst first. "
        "Look here for wrong labels and for what the model cannot know. "
        "Where “referred” or “refused” stands behind a score, the model would not have answered. "
        "A map beside an image shows what influenced the score of the saved model, not where a lesion is: published "
        "tests of such maps as signs of a lesion mostly failed (Arun et al., Radiology: Artificial Intelligence, 2021; "
        "Saporta et al., Nature Machine Intelligence, 2022)."
    )
    wrong = most_wrong_rows(files.predictions)
    if wrong.empty:
        return caption, "No image was on the wrong side of the threshold."
    names = (files.facts.labels.negative_name, files.facts.labels.positive_name)
    worst = "; ".join(
        f"{path}, {names[label]}, scored {figure_text(score)}"
        for path, label, score in wrong[["path", "y_true", "y_score"]].head(3).itertuples(index=False)
    )
    return (
        caption,
        f"{count_text(len(wrong), 'image')} the model was most wrong about, the worst first: {worst}.",
    )
