"""From typing ``breastlens predict MODEL one.png`` to the answer, beside the shortest script with Keras.

Run as ``python benchmarks/first_answer.py [--model RUN] [--image FILE]``.

Both use the model of one bundle. The disk is warm: each side runs once unmeasured, and caches that it leaves stay. The
time is that of whole processes, imports included.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from saved_models import train_model
from side_by_side import BREASTLENS, options, report, run_child, spread, take_turns, temporary_folder

KERAS = "shortest Keras script"
OURS = "breastlens predict"


def main() -> None:
    """Prints one table."""
    arguments = parse()
    with temporary_folder() as folder:
        model, image = arguments.model, arguments.image
        if model is None:
            model, _ = train_model(folder, arguments.backbone, "none")
        if image is None:
            image = min((folder / "phantoms").rglob("*.png"))
        saved = next(path for path in (model, model / "model") if (path / "bundle.json").exists())
        commands: dict[str, list[str | Path]] = {
            KERAS: [sys.executable, Path(__file__).with_name("keras_one.py"), saved / "model.keras", image],
            OURS: [*BREASTLENS, "predict", model, image],
        }
        caches = {name: folder / f"caches-{number}" for number, name in enumerate(commands)}
        sides = {name: partial(run_child, commands[name], caches=caches[name]) for name in commands}
        take_turns(sides, 1)
        taken = take_turns(sides, arguments.repeats)
    times = {name: spread([each.elapsed_s for each in repeats]) for name, repeats in taken.items()}
    used = {name: spread([each.processor_s for each in repeats]) for name, repeats in taken.items()}
    peaks = {name: max(each.peak_bytes or 0 for each in repeats) for name, repeats in taken.items()}
    report(
        "first_answer",
        f"From starting the command to the answer for one image, {arguments.model or arguments.backbone}, "
        f"median (range) of {arguments.repeats}",
        ("side", "seconds", "faster", "processor s", "peak MB"),
        [
            [
                name,
                time.written(2),
                f"{times[KERAS].median / time.median:.1f}",
                used[name].written(2),
                f"{peaks[name] / 1e6:,.0f}",
            ]
            for name, time in times.items()
        ],
        arguments.out,
        arguments=vars(arguments),
        seconds=times,
        processor_s=used,
        peak_bytes=peaks,
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=9)
    parser.add_argument("--model", type=Path, help="a run or bundle; else one is trained on simulated images")
    parser.add_argument("--image", type=Path, help="the image; else a simulated one (needed with --model)")
    parser.add_argument(
        "--backbone", default="mobilenetv2", help="of the model that is trained (%(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.model is not None and arguments.image is None:
        parser.error("--model needs --image")
    return arguments


if __name__ == "__main__":
    main()
