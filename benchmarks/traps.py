"""Does the audit find every planted trap, and is it silent on clean cohorts? Counts over seeds, as Markdown.

Run as ``python benchmarks/traps.py [--seeds 20] [--first-seed 100] [--patients 200] [--traps era,marker|all|clean]
[--backbone mobilenet:0.75] [--weights PATH] [--model PATH] [--whole]``. Each seed is simulated once, and each trap is
planted in a copy of it. A trap is looked for by that part of the audit that says its codes; clean cohorts, and with
``--whole`` all others, get the whole audit. What each cohort gave goes to standard error as it comes.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import breastlens as bl
from breastlens.audit.finding import Finding
from breastlens.audit.findings import find_problems
from breastlens.audit.judgement import describe_scores, judge_controls
from breastlens.audit.labels import find_doubtful_labels, find_inverted_labels
from breastlens.audit.marks import find_mark_problems
from breastlens.audit.near_duplicates import find_near_duplicate_problems
from breastlens.audit.shortcuts import CHUNK, hidden, occlusions, score_control, show_intensity
from breastlens.cohort.batches import load_images, read_each
from breastlens.cohort.near_duplicates import find_near_duplicates
from breastlens.cohort.perceptual_hash import thumbnail
from breastlens.cohort.splits import split_folds
from breastlens.config import AuditRecipe
from breastlens.imaging.marks import find_marks
from breastlens.imaging.phantom import PhantomSettings, write_cohort
from breastlens.imaging.planting import PlannedRecord, carry_out
from breastlens.imaging.traps import plan_traps
from breastlens.models.feature_cache import FeatureCache
from breastlens.runs.audit import audit_cohort
from breastlens.runs.probes import Features, choose_features

ELSEWHERE_SEED = 1_000
"""Of the cohort that the model for ``inverted-labels`` is trained on; no cohort that is judged has it."""

CLEAN = "clean"


@dataclass(frozen=True)
class Tools:
    """What all cohorts are looked at with.

    Attributes:
        recipe: Backbone, weights and seed of the audit.
        features: What turns squares into numbers for its probes.
        model: A model that was trained on another clean cohort; None where no trap asks for one.
    """

    recipe: AuditRecipe
    features: Features
    model: bl.Predictor | None


Look = Callable[[bl.Cohort, Tools], list[Finding]]


@dataclass(frozen=True)
class Task:
    """One trap, and what an audit should say of it.

    Attributes:
        trap: Its name, or "clean".
        codes: Any of them will do.
        look: The part of the audit that says them.
        severities: Those that count, where a code is said more and less gravely.
        images: Of each patient.
        times: As many images as for other traps, where these are too few to be sure.
        name: In the table, where one trap is looked for in two ways.
    """

    trap: str
    codes: tuple[str, ...]
    look: Look
    severities: tuple[str, ...] = ("info", "warning", "error")
    images: int = 1
    times: int = 1
    name: str = ""


@dataclass
class Tally:
    """What became of one task over the seeds."""

    task: Task
    found: list[bool] = field(default_factory=list)
    elapsed_s: list[float] = field(default_factory=list)
    findings: list[list[Finding]] = field(default_factory=list)


# The parts of an audit


def look_at_table(cohort: bl.Cohort, tools: Tools) -> list[Finding]:
    """Files, patients, copies, and what the manifest tells."""
    return find_problems(cohort, seed=tools.recipe.seed)


def look_for_pairs(cohort: bl.Cohort, tools: Tools) -> list[Finding]:
    """Near-duplicates."""
    thumbnails = read_each(cohort, cohort.included, lambda image, _: thumbnail(image.pixels))
    return find_near_duplicate_problems(cohort.included, find_near_duplicates(np.stack(list(thumbnails))))


def look_for_marks(cohort: bl.Cohort, tools: Tools) -> list[Finding]:
    """What is drawn into the images."""
    used = cohort.included
    marks = list(read_each(cohort, used, lambda image, _: find_marks(image.pixels)))
    return list(find_mark_problems(used, marks, seed=tools.recipe.seed))


def probe(names: Sequence[str]) -> Look:
    """The controls of these names, or "whole" for the labels that whole images speak against."""

    def look(cohort: bl.Cohort, tools: Tools) -> list[Finding]:
        used, seed = cohort.included, tools.recipe.seed
        labels, patients = used["label"].to_numpy(), used["patient_id"].tolist()
        # The audit also keeps near-duplicates together; on clean cohorts it finds none, and these traps add none.
        groups = cohort.groups()
        folds = split_folds(labels, groups, tools.recipe.folds, seed)
        parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
        pixels = load_images(cohort, used).pixels

        def score(inputs: NDArray[np.floating]) -> NDArray[np.float64]:
            return score_control(inputs, labels, groups, parts, seed=seed)

        controls, found = {}, []
        for occlusion in occlusions(cohort.image):
            if occlusion.name in names:
                scores = score(tools.features.run(hidden(pixels, occlusion, seed)))
                controls[occlusion.name] = describe_scores(occlusion.what, labels, scores, patients)
        if "intensity" in names:
            shown = show_intensity(pixels)
            controls[shown.name] = describe_scores(shown.what, labels, score(shown.inputs), patients)
        if "whole" in names:
            chunks = (pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK))
            found = find_doubtful_labels(used, score(tools.features.run(chunks)))
        return [*judge_controls(controls, len(used)), *found]

    return look


def hold_against_model(cohort: bl.Cohort, tools: Tools) -> list[Finding]:
    """The labels, held against a model from elsewhere."""
    if tools.model is None:
        return []
    scores = tools.model.score_pixels(load_images(cohort, cohort.included).pixels)
    return find_inverted_labels(cohort.included, scores)


def look_at_everything(cohort: bl.Cohort, tools: Tools) -> list[Finding]:
    """The whole audit."""
    recipe = tools.recipe
    said = audit_cohort(
        cohort, model=tools.model, backbone=recipe.backbone, weights=recipe.weights, seed=recipe.seed
    )
    controls = said.facts.get("controls", {})
    aucs = " ".join(f"{name} {each['auc']:.3f}" for name, each in controls.items())
    print(f"    whole {said.facts['whole']['auc']:.3f} {aucs}", file=sys.stderr, flush=True)
    return list(said.findings)


TASKS = (
    Task(CLEAN, (), look_at_everything, name="clean-1-image"),
    Task(CLEAN, (), look_at_everything, images=2, name="clean-2-images"),
    Task("camera-noise", ("shortcut-noise",), probe(("noise",))),
    Task("era", ("column-tells-label",), look_at_table),
    Task("era", ("shortcut-intensity",), probe(("intensity",)), name="era-pixels"),
    Task("border", ("shortcut-border",), probe(("border",))),
    Task("marker", ("marks-tell-label",), look_for_marks),
    Task("marker", ("shortcut-border",), probe(("border",)), name="marker-pixels"),
    Task("format", ("format-tells-label",), look_at_table),
    Task("exact-duplicates", ("duplicates-within-category",), look_at_table),
    Task("duplicates-across-patients", ("duplicates-across-patients",), look_at_table),
    Task("duplicates-across-categories", ("duplicates-across-labels",), look_at_table),
    Task("near-duplicates", ("near-duplicates-across-patients",), look_for_pairs),
    Task("patient-in-both-categories", ("patients-in-both-labels",), look_at_table),
    Task("similar-patient-ids", ("similar-patient-ids",), look_at_table, images=2),
    Task("flipped-labels", ("doubtful-labels",), probe(("whole",)), ("warning",), times=3),
    Task("inverted-labels", ("labels-look-inverted",), hold_against_model),
)


# Cohorts


def plant(clean: Path, trap: str, seed: int, out: Path) -> Path:
    """Plants a trap in a copy of a clean cohort, to the same bytes as if both were simulated in one go.

    Returns:
        The manifest.
    """
    shutil.copytree(clean, out)
    manifest = out / "manifest.csv"
    if trap != CLEAN:
        table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
        rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
        records = [
            PlannedRecord(row["path"], row["category"], row["patient_id"], int(row["path"].split(".")[-2]))
            for row in rows
        ]
        (named,) = PhantomSettings.model_validate({"images_per_patient": 2, "traps": [{"name": trap}]}).traps
        planted = carry_out(plan_traps(records, [named], seed), out, rows)
        pd.DataFrame(planted).to_csv(manifest, index=False, lineterminator="\n")
    return manifest


def train_elsewhere(folder: Path, recipe: AuditRecipe, patients: int) -> bl.Predictor:
    """Trains a model on a clean cohort that is not judged."""
    manifest = write_cohort(
        folder / "elsewhere", PhantomSettings(patients=patients, images_per_patient=1, seed=ELSEWHERE_SEED)
    )
    cohort = bl.Cohort.read(folder / "elsewhere", manifest=manifest)
    bl.train(cohort, out=folder / "model", backbone=recipe.backbone, weights=recipe.weights)
    return bl.load(folder / "model")


def judge(tally: Tally, cohort: bl.Cohort, tools: Tools, look: Look) -> None:
    """Looks at one cohort and adds what was found."""
    started = time.perf_counter()
    findings = look(cohort, tools)
    tally.elapsed_s.append(time.perf_counter() - started)
    tally.findings.append(findings)
    tally.found.append(
        any(each.code in tally.task.codes and each.severity in tally.task.severities for each in findings)
    )


def run(
    tasks: Sequence[Task], seeds: Sequence[int], patients: int, tools: Tools, folder: Path, *, whole: bool
) -> list[Tally]:
    """Judges every task on every seed."""
    tallies = [Tally(task) for task in tasks]
    for seed in seeds:
        for images, times in sorted({(task.images, task.times) for task in tasks}):
            clean = folder / "clean"
            # as many images whatever there are of a patient
            settings = PhantomSettings(
                patients=times * patients // images, images_per_patient=images, seed=seed
            )
            write_cohort(clean, settings)
            for tally in tallies:
                if (tally.task.images, tally.task.times) == (images, times):
                    manifest = plant(clean, tally.task.trap, seed, folder / "planted")
                    cohort = bl.Cohort.read(folder / "planted", manifest=manifest)
                    judge(tally, cohort, tools, look_at_everything if whole else tally.task.look)
                    shutil.rmtree(folder / "planted")
                    say(seed, tally)
            shutil.rmtree(clean)
    return tallies


# What is printed


def title(task: Task) -> str:
    """The task's name in the table."""
    return task.name or task.trap


def say(seed: int, tally: Tally) -> None:
    """One line a cohort, to standard error."""
    said = ", ".join(f"{each.severity} {each.code} ({evidence(each)})" for each in tally.findings[-1])
    print(
        f"{seed} {title(tally.task)}: {said or 'nothing'}, {tally.elapsed_s[-1]:.1f} s",
        file=sys.stderr,
        flush=True,
    )


def evidence(finding: Finding) -> str:
    """The figure that a finding rests on."""
    told = finding.evidence
    if told is None:
        return str(finding.count)
    ends = "" if told.low is None else f", {told.low:.3f} to {told.high:.3f}"
    return f"{finding.count}: {told.value:.3f}{ends}"


def found_table(tallies: Sequence[Tally], patients: int) -> Iterator[str]:
    """The traps."""
    yield "| trap | images | expected finding | found in | s a cohort |"
    yield "|---|---|---|---|---|"
    for tally in tallies:
        task = tally.task
        codes = " or ".join(f"`{code}`" for code in task.codes)
        graver = f" ({', '.join(task.severities)})" if len(task.severities) < 3 else ""
        seconds = float(np.median(tally.elapsed_s))
        found = f"{sum(tally.found)} of {len(tally.found)}"
        yield f"| `{title(task)}` | {task.times * patients} | {codes}{graver} | {found} | {seconds:.1f} |"


def clean_table(tallies: Sequence[Tally]) -> Iterator[str]:
    """The clean cohorts: in how many of them anything was said."""
    yield "| cohorts | with an error | with a shortcut warning | with another warning | told as info | s a cohort |"
    yield "|---|---|---|---|---|---|"
    for tally in tallies:
        columns = (
            count_codes(tally, lambda each: each.severity == "error"),
            count_codes(tally, lambda each: each.severity == "warning" and is_shortcut(each)),
            count_codes(tally, lambda each: each.severity == "warning" and not is_shortcut(each)),
            count_codes(tally, lambda each: each.severity == "info"),
        )
        seconds = float(np.median(tally.elapsed_s))
        yield f"| {title(tally.task)} | {' | '.join(columns)} | {seconds:.1f} |"


def is_shortcut(finding: Finding) -> bool:
    """Whether a finding is about a shortcut."""
    return finding.code.startswith("shortcut-")


def count_codes(tally: Tally, chosen: Callable[[Finding], bool]) -> str:
    """In how many cohorts there was such a finding, and which."""
    with_it = sum(any(map(chosen, findings)) for findings in tally.findings)
    codes = Counter(each.code for findings in tally.findings for each in findings if chosen(each))
    told = ", ".join(f"`{code}` {count}" for code, count in sorted(codes.items()))
    return f"{with_it} of {len(tally.findings)}{f' ({told})' if told else ''}"


def read_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many cohorts of each trap")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--patients", type=int, default=200, help="with one image; half as many with two")
    parser.add_argument("--traps", default="all", help="rows of the tables, with commas; clean; all")
    parser.add_argument("--backbone", default="mobilenet:0.75")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--model", type=Path, help="for inverted-labels; else one is trained first")
    parser.add_argument("--whole", action="store_true", help="the whole audit for every trap")
    arguments = parser.parse_args()
    wanted = arguments.traps.split(",")
    known = list(dict.fromkeys(name for task in TASKS for name in (task.trap, title(task))))
    if unknown := set(wanted) - {"all", *known}:
        parser.error(f"no such trap: {', '.join(sorted(unknown))}; expected all, {', '.join(known)}")
    arguments.tasks = [task for task in TASKS if {"all", task.trap, title(task)} & set(wanted)]
    return arguments


def main() -> None:
    """Prints both tables."""
    arguments = read_arguments()
    tasks, seeds = arguments.tasks, range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    recipe = AuditRecipe(backbone=arguments.backbone, weights=arguments.weights)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features = choose_features(recipe, bl.ImageRecipe().image_size, FeatureCache())
        model = bl.load(arguments.model) if arguments.model else None
        if model is None and any(task.trap == "inverted-labels" for task in tasks):
            model = train_elsewhere(folder, recipe, arguments.patients)
        tallies = run(
            tasks,
            seeds,
            arguments.patients,
            Tools(recipe, features, model),
            folder,
            whole=arguments.whole,
        )
    print(
        f"breastlens {bl.__version__}, {features.facts['name']}; seeds {seeds[0]} to {seeds[-1]}, "
        f"{arguments.patients} images a cohort before planting; Python {platform.python_version()}, "
        f"{platform.machine()}, {(time.perf_counter() - started) / 60:.0f} min.\n"
    )
    traps = [tally for tally in tallies if tally.task.trap != CLEAN]
    clean = [tally for tally in tallies if tally.task.trap == CLEAN]
    if traps:
        print("\n".join(found_table(traps, arguments.patients)), end="\n\n")
    if clean:
        print("\n".join(clean_table(clean)), end="\n\n")


if __name__ == "__main__":
    main()
