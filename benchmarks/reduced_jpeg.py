"""What it changes when JPEG files are decoded at half, a quarter or an eighth of their size: scores and time.

Run as ``python benchmarks/reduced_jpeg.py RUN --data FOLDER``.

The test images of a run, enlarged and with grain of a standard deviation of 4 grey levels where that is asked for, are
saved as JPEG at quality 90, decoded by OpenCV at each size, resized as the model takes them, and scored. A decision is
compared with that on the file decoded in full. Sizes that leave less than the model's square are left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from breastlens.imaging.decode import DecodedImage, decode
from breastlens.imaging.preprocess import preprocess
from breastlens.inference.predictor import Predictor, load
from breastlens.runs.directory import Run
from side_by_side import options, report, say

REDUCTIONS = {
    1: cv2.IMREAD_COLOR_BGR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
QUALITY = 90
GRAIN = 4.0
HEADER = (
    "enlarged",
    "decoded at",
    "least side left",
    "ms to decode",
    "ms to resize",
    "grey levels off",
    "score off, mean",
    "score off, most",
    "decisions changed",
)

Images = NDArray[np.uint8]


def main() -> None:
    """Prints one table."""
    arguments = parse()
    predictor, run = load(arguments.run), Run.read(arguments.run)
    held_out = run.predictions.query("split == 'test'") if "split" in run.predictions else run.predictions
    if held_out.empty:
        raise SystemExit(f"{arguments.run} has no test part; expected a run that was trained without --folds")
    paths = [arguments.data / path for path in held_out["path"]]
    cv2.setNumThreads(1)
    rows, figures = [], []
    for factor in arguments.enlarge:
        say(f"enlarged {factor} times")
        files = [encode(path, factor, number) for number, path in enumerate(paths)]
        exact: dict[str, Any] | None = None
        for reduction in REDUCTIONS:
            found = look(predictor, files, reduction)
            if found is None:
                continue
            exact = exact or found
            figures.append(
                {"enlarged": factor, "reduction": reduction, **differences(predictor, exact, found)}
            )
            rows.append(cells(figures[-1], len(files)))
    title = f"{len(paths)} test images of {arguments.run}, {run.facts['backbone']['name']}"
    report(
        "reduced_jpeg", title, HEADER, rows, arguments.out, left=2, arguments=vars(arguments), figures=figures
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=None)
    parser.add_argument("run", type=Path, help="run directory of a training without --folds")
    parser.add_argument("--data", type=Path, required=True, help="the folder that it was trained on")
    parser.add_argument("--enlarge", type=int, nargs="+", default=[1, 2, 4])
    return parser.parse_args()


def encode(path: Path, factor: int, seed: int) -> Images:
    """One image as a JPEG file, enlarged; grain gives an enlarged one back the detail of its size."""
    pixels = decode(path).pixels
    if factor > 1:
        larger = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(
            np.float32
        )
        grain = np.random.default_rng(seed).normal(0, GRAIN, larger.shape[:2])
        larger += (grain if larger.ndim == 2 else grain[..., np.newaxis]).astype(np.float32)
        pixels = np.clip(np.rint(larger), 0, 255).astype(np.uint8)
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def look(predictor: Predictor, files: list[Images], reduction: int) -> dict[str, Any] | None:
    """Squares, scores and times of all files decoded at one size; None where that leaves too little of them."""
    recipe = predictor.bundle.card.image
    started = time.process_time()
    decoded = [cv2.cvtColor(cv2.imdecode(file, REDUCTIONS[reduction]), cv2.COLOR_BGR2RGB) for file in files]
    decoding_s = time.process_time() - started
    side = min(min(pixels.shape[:2]) for pixels in decoded)
    if side < recipe.image_size:
        return None
    started = time.process_time()
    images = [
        DecodedImage(np.asarray(pixels), "JPEG", 8, pixels.shape[1], pixels.shape[0]) for pixels in decoded
    ]
    squares = np.stack([preprocess(image, recipe).pixels for image in images])
    resizing_s = time.process_time() - started
    return {
        "side": side,
        "squares": squares,
        "scores": predictor.score_pixels(squares),
        "decoding_ms": 1e3 * decoding_s / len(files),
        "resizing_ms": 1e3 * resizing_s / len(files),
    }


def differences(predictor: Predictor, exact: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """How far squares, scores and decisions are from those of the files decoded in full."""
    threshold = predictor.bundle.card.threshold
    off = np.abs(found["scores"] - exact["scores"])
    return {
        "side": found["side"],
        "decoding_ms": found["decoding_ms"],
        "resizing_ms": found["resizing_ms"],
        "grey_levels": float(np.abs(found["squares"].astype(int) - exact["squares"]).mean()),
        "mean_score": float(off.mean()),
        "largest_score": float(off.max()),
        "changed": int(((found["scores"] >= threshold) != (exact["scores"] >= threshold)).sum()),
    }


def cells(figures: dict[str, Any], files: int) -> list[str]:
    """One row of the table."""
    return [
        f"{figures['enlarged']} times",
        "full size" if figures["reduction"] == 1 else f"1/{figures['reduction']}",
        f"{figures['side']} px",
        f"{figures['decoding_ms']:.2f}",
        f"{figures['resizing_ms']:.2f}",
        f"{figures['grey_levels']:.2f}",
        f"{figures['mean_score']:.4f}",
        f"{figures['largest_score']:.4f}",
        f"{figures['changed']} of {files}",
    ]


if __name__ == "__main__":
    main()
