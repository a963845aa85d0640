"""A saved model is used where Keras and TensorFlow are not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from breastlens.runs.directory import Run

# None in sys.modules is how Python writes down that a module cannot be imported.
PREDICT = """
import json, sys
for name in ("tensorflow", "keras", "tensorboard", "h5py", "crepes"):
    sys.modules[name] = None
import breastlens as bl
predictor = bl.load(sys.argv[1])
found = [predictor.predict(path) for path in sys.argv[2:]]
print(json.dumps([[one.y_score, one.y_pred] for one in found]))
"""

COMMAND = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
sys.argv[0] = "breastlens"
from breastlens.cli import main
main()
"""


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_predict_equals_the_runs_own_predictions(holdout_run: Run, awkward_dir: Path) -> None:
    rows = holdout_run.predictions
    done = run_python(PREDICT, holdout_run.directory, *(awkward_dir / path for path in rows["path"]))
    assert done.returncode == 0, done.stderr
    scores, calls = zip(*json.loads(done.stdout), strict=True)
    np.testing.assert_allclose(scores, rows["y_score"], rtol=0, atol=1e-5)
    assert all(call in (None, expected) for call, expected in zip(calls, rows["y_pred"], strict=True))
    assert sum(call is not None for call in calls) > 0.7 * len(calls)


def test_evaluate_works_and_train_says_what_is_missing(
    holdout_run: Run, awkward_dir: Path, tmp_path: Path
) -> None:
    data = (awkward_dir, "--manifest", awkward_dir / "manifest.csv", "--quiet", "--out", tmp_path / "out")
    done = run_python(COMMAND, "evaluate", holdout_run.directory, *data, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["external"]["n"] == 60
    assert (tmp_path / "out" / "report.html").is_file()
    missing = run_python(COMMAND, "train", *data[:-1], tmp_path / "new", "--weights", "none")
    assert missing.returncode == 2
    assert missing.stderr == (
        "Error: training a network needs keras, which is not installed: pip install 'breastlens[train]' "
        "(in a checkout: pip install '.[train]')\n"
    )
