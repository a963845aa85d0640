"""The threshold explorer: the scores it counts, its script, and the hash by which the page allows that script alone."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from breastlens.report.rendering import TEMPLATES
from breastlens.report.run_files import RunFiles

_SCRIPT = "explorer.js"


def explorer_context(files: RunFiles) -> dict[str, Any]:
    """The variables of the template explorer; without a score of each class there is nothing to explore."""
    scores = {
        name: sorted(files.predictions.loc[files.predictions["y_true"] == label, "y_score"].tolist())
        for name, label in (("positive", 1), ("negative", 0))
    }
    script = (TEMPLATES / _SCRIPT).read_text(encoding="utf-8")
    own = files.block.threshold
    return {
        "explorer": {name: json.dumps(values) for name, values in scores.items()},
        "explorer_shown": all(scores.values()),
        "explorer_threshold": files.facts.operating_point.threshold if own is None else own,
        "explorer_many_thresholds": own is None,
        "explorer_prevalence": len(scores["positive"]) / max(1, len(files.predictions)),
        "explorer_script": script,
        "explorer_hash": script_hash(script),
    }


def script_hash(script: str) -> str:
    """SHA-256 of a script between its tags, as a content security policy names it (W3C, CSP Level 3)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"
