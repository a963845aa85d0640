"""The threshold explorer: its counts against scikit-learn's, in node and in the page itself, and its one script."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from breastlens.report.explorer import script_hash
from breastlens.report.page import write_report
from breastlens.report.rendering import TEMPLATES

RunFactory = Callable[..., Path]
SCRIPT = TEMPLATES / "explorer.js"


def test_counts_and_predictive_values_at_ties_and_ends(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    generator = np.random.default_rng(2)
    y_true = generator.integers(0, 2, 60)
    y_score = generator.integers(0, 11, 60) / 10  # many ties, and 0 and 1 among them
    cuts, prevalences = [0.0, 0.3, 0.7, 0.70000001, 1.0], [0.0, 0.05, 0.5, 1.0]
    program = tmp_path / "run.js"
    program.write_text(
        f"const e = require({json.dumps(str(SCRIPT))});"
        f"const positive = {y_score[y_true == 1].tolist()}, negative = {y_score[y_true == 0].tolist()};"
        f"console.log(JSON.stringify({cuts}.map((cut) => {{ const calls = e.countCalls(positive, negative, cut);"
        f"return [calls, {prevalences}.map((prevalence) => e.judgeCalls(calls, prevalence))]; }})));"
    )
    # node reads a module by its name, and this one has no dependencies
    done = subprocess.run([node, str(program)], capture_output=True, text=True, check=True)
    for cut, (calls, judged) in zip(cuts, json.loads(done.stdout), strict=True):
        tn, fp, fn, tp = confusion_matrix(y_true, y_score >= cut, labels=[0, 1]).ravel()
        assert [calls[name] for name in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        for prevalence, one in zip(prevalences, judged, strict=True):
            assert one["sensitivity"] == pytest.approx(sensitivity)
            assert one["specificity"] == pytest.approx(specificity)
            called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
            expected = sensitivity * prevalence / called if called > 0 else None
            assert one["ppv"] == (expected if expected is None else pytest.approx(expected))
            cleared = specificity * (1 - prevalence) + (1 - sensitivity) * prevalence
            expected = specificity * (1 - prevalence) / cleared if cleared > 0 else None
            assert one["npv"] == (expected if expected is None else pytest.approx(expected))


def test_the_page_shows_the_figures_of_metrics_json_at_its_own_threshold(run_factory: RunFactory) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    run = run_factory("run")
    page = write_report(run)
    test = json.loads((run / "metrics.json").read_text())["test"]
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, f"file://{page}#threshold={test['threshold']}"],
        capture_output=True,
        text=True,
        check=True,
    )
    shown = dict(re.findall(r'id="explorer-(\w+)"[^>]*>([^<]*)<', done.stdout))
    (tn, fp), (fn, tp) = test["confusion_matrix"]
    assert [shown[name] for name in ("tn", "fp", "fn", "tp")] == [str(each) for each in (tn, fp, fn, tp)]
    # At the prevalence of these images PPV and NPV are theirs.
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        assert shown[name] == f"{test[name]:.3f}"
    assert f"threshold of {test['threshold']:.3f}: sensitivity {test['sensitivity']:.3f}" in shown["said"]
    assert not re.search(r'id="explorer"[^>]*hidden', done.stdout)


def test_the_page_allows_its_own_script_and_no_other(run_factory: RunFactory) -> None:
    content = write_report(run_factory("run")).read_text()
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", content, re.DOTALL)
    assert scripts == [SCRIPT.read_text()]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', content)
    assert policy is not None
    assert f"script-src '{script_hash(scripts[0])}'" in html.unescape(policy[1])
    assert "unsafe-inline" not in html.unescape(policy[1]).split("script-src")[1]


def test_without_script_nothing_of_it_is_shown(run_factory: RunFactory) -> None:
    content = write_report(run_factory("run", kind="folds")).read_text()
    assert re.search(r'<div id="explorer"[^>]* hidden ', content)
    assert "too good for them" in content


def test_every_input_has_a_label(run_factory: RunFactory) -> None:
    content = write_report(run_factory("run")).read_text()
    for attributes in re.findall(r"<input ([^>]*)>", content):
        name = re.search(r'id="([^"]*)"', attributes)
        assert name is not None
        assert "aria-label=" in attributes or f'<label for="{name[1]}">' in content
    assert 'role="status" aria-live="polite"' in content
