"""A methods paragraph and its references, written from what a run recorded: for an author to paste and edit."""

from __future__ import annotations

from breastlens.report.calibration import judged_methods, methods_text
from breastlens.report.control_wording import seen_by
from breastlens.report.flow import flow_table
from breastlens.report.phrasing import count_text
from breastlens.report.run_files import RunFiles
from breastlens.report.tables import PRECISIONS, RANDOM_WEIGHTS

_IMAGENET_WEIGHTS = "imagenet"
"""What the recipe says of the weights where Keras gave those of ImageNet."""

_PLATT = "Platt: Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers 1999"
_DELONG = "DeLong, DeLong, Clarke-Pearson: Comparing the areas under two or more correlated ROC curves, Biometrics 1988"
_SUN_XU = "Sun, Xu: Fast implementation of DeLong's algorithm, IEEE Signal Processing Letters 2014"
_OBUCHOWSKI = "Obuchowski: Nonparametric analysis of clustered ROC curve data, Biometrics 1997"
_WILSON = "Wilson: Probable inference, the law of succession, and statistical inference, JASA 1927"
_BCA = "Efron: Better bootstrap confidence intervals, JASA 1987"
_CLUSTERS = "Field, Welsh: Bootstrapping clustered data, Journal of the Royal Statistical Society B 2007"
_ADAMW = "Loshchilov, Hutter: Decoupled weight decay regularization, ICLR 2019"
_IMAGENET = "Russakovsky et al.: ImageNet large scale visual recognition challenge, IJCV 2015"
_COCHRAN = "Cochran: The combination of estimates from different experiments, Biometrics 1954"
_HOLM = (
    "Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979"
)
_CAM = "Zhou et al.: Learning deep features for discriminative localization, CVPR 2016"


def methods_paragraphs(files: RunFiles) -> list[str]:
    """Data, model, and evaluation, a paragraph each; every figure in them is the run's own."""
    told = [_data(files), _model(files), _evaluation(files)]
    return [" ".join(sentence for sentence in paragraph if sentence) for paragraph in told]


def references(files: RunFiles) -> list[str]:
    """The sources of the network and of the methods that this run used."""
    facts = files.facts
    methods = [interval.method for interval in files.block.intervals.values()]
    tests = [each.get("same_auc") or {} for each in files.further.get("subgroups", [])]
    several = files.block.by_patient is not None
    named = [
        (facts.backbone.paper, bool(facts.backbone.paper)),
        (_IMAGENET, facts.recipe.get("weights") == _IMAGENET_WEIGHTS),
        (_ADAMW, facts.recipe.get("strategy") in ("finetune", "scratch")),
        (_PLATT, "platt" in judged_methods(files)),
        (_DELONG, any("DeLong" in method for method in methods)),
        (_SUN_XU, any("DeLong" in method for method in methods)),
        (_OBUCHOWSKI, several and any("DeLong" in method for method in methods)),
        (_WILSON, any("Wilson" in method for method in methods)),
        (_BCA, any("BCa" in method for method in methods)),
        (_CLUSTERS, several and any("bootstrap" in method for method in methods)),
        (_COCHRAN, any(test.get("p_value") is not None for test in tests)),
        (_HOLM, any(test.get("p_value") is not None for test in tests)),
        (_CAM, files.activation is not None),
    ]
    return [source for source, used in named if used]


def _data(files: RunFiles) -> list[str]:
    data, labels, flow = files.facts.data, files.facts.labels, flow_table(files)
    people = "" if flow.found.patients is None else f" of {count_text(flow.found.patients, 'patient')}"
    said = [f"{count_text(flow.found.images, 'image')}{people} were available."]
    if flow.left_out:
        reasons = "; ".join(f"{row.step.lower()}, {row.images:,}" for row in flow.left_out)
        said.append(f"{data.excluded:,} were left out ({reasons}), which left {data.used:,}.")
    said.append(
        f"{count_text(flow.used.positive_images, 'image')} ({labels.positive_name}) counted as positive and "
        f"{flow.used.negative_images:,} ({labels.negative_name}) as negative."
    )
    audit = files.facts.audit
    if audit is not None and audit.done:
        said.append(
            "Before training, the data were audited for copies, near-duplicates, marks, and properties of files that "
            "tell the classes apart."
        )
    elif audit is not None:
        said.append("The data were not audited before training.")
    return [*said, preprocessing_sentence(files), split_sentence(files)]


def preprocessing_sentence(files: RunFiles) -> str:
    """What was done to each image; "" where that was not recorded."""
    image = files.facts.image
    size = image.get("image_size")
    if size is None:
        return ""
    steps = {
        "cropped to the largest bright component": image.get("crop") == "body",
        "freed of letters and marks by painting them over": bool(image.get("hide_marks")),
        "brought to one mean and one spread of grey levels": image.get("normalise") == "per-image",
        "given a black border": bool(image.get("hide_border")),
    }
    done = [step for step, was_done in steps.items() if was_done]
    fit = "padded to a square and resized" if image.get("fit") == "letterbox" else "resized"
    listed = ", ".join([*done, f"{fit} to {size} × {size} pixels with 8 bits in each of three channels"])
    return f"Each image was {listed}."


def split_sentence(files: RunFiles) -> str:
    """How the images were divided."""
    split, recipe = files.facts.split, files.facts.recipe
    unit = "patient" if files.facts.data.patient_source else "image (patients were unknown)"
    together = "copies and near-duplicates" if files.facts.audit and files.facts.audit.done else "copies"
    parts = ", ".join(f"{part.name} {count_text(part.images, 'image')}" for part in split.parts)
    if split.kind == "folds":
        return (
            f"The images were divided by {unit} into {len(split.parts)} folds, stratified by class, with {together} "
            f"kept in one fold; each image was scored once{_repeats_clause(files)}, by a model trained without its "
            "fold."
        )
    if split.kind == "holdout":
        return (
            f"The images were divided by {unit}, stratified by class, with {together} kept in one part ({parts}; seed "
            f"{recipe.get('seed', 0)})."
        )
    if split.kind == "manifest":
        return f"The division into parts was given with the data ({parts}); no patient stood in two parts."
    return "All of them formed one external test set."


def _repeats_clause(files: RunFiles) -> str:
    count = files.facts.recipe.get("repeats", 1)
    return (
        f" in each of {count} repeats, for which the folds were dealt by different seeds" if count > 1 else ""
    )


def ensemble_sentence(files: RunFiles) -> str:
    """How many networks give the score, and what they count; "" for one."""
    recipe = files.facts.recipe
    members = recipe.get("ensemble", [])
    if not members:
        return ""
    learnt = recipe.get("ensemble_weights") == "learnt"
    shares = (
        "weighted by what gave the smallest log loss on inner folds" if learnt else "each counting the same"
    )
    return (
        f"The score is that of an ensemble: the mean log-odds of {len(members)} such models, one on each network, "
        f"{shares}."
    )


def _start(files: RunFiles) -> str:
    """What the network began with."""
    weights = files.facts.backbone.weights
    if weights == RANDOM_WEIGHTS:
        return "random weights"
    if files.facts.recipe.get("weights") == _IMAGENET_WEIGHTS:
        return "weights learnt on ImageNet"
    return f"the weights of {weights or 'a file'}"


_VIEWS = {
    "flip": "as it is and mirrored",
    "shift": "as it is and moved by 4 of 128 pixels to each side",
    "flip-shift": "as it is and mirrored, each also moved by 4 of 128 pixels to each side",
}


def _shown_and_pooled(files: RunFiles) -> list[str]:
    """Views of an image and the pooling of sides, a sentence each where the recipe has them."""
    recipe, said = files.facts.recipe, []
    views = _VIEWS.get(recipe.get("tta", "none"))
    if views is not None:
        said.append(f"Each image was shown {views}, and the score has the mean log-odds of these views.")
    if recipe.get("pooling") == "sides":
        said.append(
            "Each stage was pooled by quarters of the image, and left was held against right: absolute difference and "
            "mean, or maximum, of the two."
        )
    return said


def _patients_sentence(files: RunFiles) -> str:
    """By which rule a patient was scored; "" where no patient has several images."""
    people = files.block.by_patient
    if people is None:
        return ""
    auto = files.facts.recipe.get("patient_score") == "auto"
    chosen = ", the rule of the largest AUC by patient where thresholds were chosen" if auto else ""
    return f"Patients were called by their {people.patient_rule}{chosen}."


def _model(files: RunFiles) -> list[str]:
    facts, recipe = files.facts, files.facts.recipe
    network = facts.backbone.title or facts.backbone.name
    if facts.kind == "evaluation":
        return [
            f"A finished model ({network}) was applied as it was saved, with its own threshold of "
            f"{facts.operating_point.threshold:.3g}."
        ]
    start = _start(files)
    probe = (
        "the signed square roots of the pooled activations, standardised, entered a logistic regression with L2 "
        "penalty, whose strength was chosen by cross-validation inside the training patients"
    )
    strategy = recipe.get("strategy", "probe")
    if strategy == "probe":
        left = "were left as they were" if recipe.get("ensemble") else "was left as it was"
        said = [f"{network} with {start} {left}; {probe}."]
    elif strategy == "finetune":
        stages = recipe.get("trainable_stages")
        moved = "all stages" if stages == "all" else f"the top {stages} stages"
        said = [
            f"{network} began with {start}. First, {probe}. Then {moved} and this head were trained on "
            f"{_epochs(files)}; the log-odds of both were averaged where the validation AUC rose. "
            f"Kept was: {facts.kept or 'not recorded'}."
        ]
    else:
        said = [f"{network} with random weights was trained on {_epochs(files)}."]
    said += [*_shown_and_pooled(files), ensemble_sentence(files)]
    point = facts.operating_point
    said.append(
        f"The calibration of scores was {methods_text(judged_methods(files)) or 'not recorded'}. The threshold was "
        f"chosen by this rule: {point.rule or 'not recorded'} (on {point.chosen_on or 'the validation part'})."
    )
    if facts.split.kind == "folds":
        said.append("Every one of these choices was made anew inside the training patients of each fold.")
    if facts.precision is not None and facts.precision.used != "fp32":
        said.append(
            f"The saved model computes in {PRECISIONS.get(facts.precision.used, facts.precision.used)}."
        )
    return said


def _epochs(files: RunFiles) -> str:
    recipe = files.facts.recipe
    default = "0.003" if recipe.get("strategy") == "scratch" else "0.0003"
    return (
        f"augmented images for up to {recipe.get('epochs')} epochs (AdamW, batches of {recipe.get('batch_size')}, peak "
        f"learning rate {recipe.get('learning_rate') or default}, weight decay {recipe.get('weight_decay')}), stopped "
        f"after {recipe.get('patience')} epochs without a better validation AUC"
    )


def _evaluation(files: RunFiles) -> list[str]:
    block = files.block
    said = [
        "Reported are the area under the ROC curve (AUC), average precision, sensitivity, specificity, predictive "
        "values, accuracy, F1, Matthews correlation and Brier score."
    ]
    said.append(_patients_sentence(files))
    by_method: dict[str, list[str]] = {}
    for name, interval in block.intervals.items():
        by_method.setdefault(f"{interval.level:.0%}, {interval.method}", []).append(
            _METRIC_WORDS.get(name, name)
        )
    if len(by_method) == 1:
        said.append(f"Intervals: {next(iter(by_method))}.")
    elif by_method:
        told = "; ".join(f"for {', '.join(names)}: {method}" for method, names in by_method.items())
        said.append(f"Intervals: {told}.")
    if files.controls:
        denied = "; ".join(f"one that {seen_by(name)}" for name in files.controls)
        said.append(
            f"As negative controls, models that were denied the breast were trained and judged on the same images "
            f"({denied}), and the AUC was compared with theirs on the same patients."
        )
    subgroups = files.further.get("subgroups", [])
    if subgroups:
        columns = ", ".join(str(each.get("column")) for each in subgroups)
        said.append(f"Subgroups were formed by {columns}.")
    if any((each.get("same_auc") or {}).get("p_value") is not None for each in subgroups):
        said.append(
            "Whether the AUC differs between their strata was tested by Cochran's Q of its log-odds, corrected by "
            "Holm's method."
        )
    versions = files.facts.versions
    wanted = (
        "breastlens",
        "python",
        "tensorflow",
        "tensorflow-cpu",
        "keras",
        "openvino",
        "scikit-learn",
        "numpy",
    )
    listed = ", ".join(f"{name} {versions[name]}" for name in wanted if name in versions)
    return [*said, f"Software: {listed}." if listed else ""]


_METRIC_WORDS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
}
