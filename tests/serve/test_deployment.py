"""deploy/: what the container installs is all that the service imports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_service_imports_nothing_that_its_requirements_do_not_bring(
    bundle: Path, phantom_dir: Path
) -> None:
    """In a process of its own, in which nothing else can be imported."""
    named = re.findall(r"^([a-z0-9-]+)$", (ROOT / "deploy" / "requirements.txt").read_text(), re.M)
    code = """
    import importlib.metadata, json, re, sys
    from pathlib import Path

    named, model, image = json.loads(sys.argv[1])
    wanted, brought = [*named], set()
    while wanted:  # each package with what it needs itself
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in brought:
            continue
        brought.add(name)
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        wanted += [re.match(r"[A-Za-z0-9._-]+", one)[0] for one in needed if "extra ==" not in one]
    owners = importlib.metadata.packages_distributions()

    class Refusal:
        def find_spec(self, name, path=None, target=None):
            top = name.partition(".")[0]
            own = {re.sub(r"[-_.]+", "-", one).lower() for one in owners.get(top, [])}
            if own and not own & brought and "breastlens" not in own:
                raise ImportError(f"{top} is not in the container")

    sys.meta_path.insert(0, Refusal())
    import breastlens.cli
    import breastlens.serve.app, breastlens.serve.protocol, breastlens.serve.run, breastlens.serve.signature
    from breastlens.serve.decoding import Decoder
    from breastlens.serve.limits import ServiceLimits
    from breastlens.serve.models import ModelSource, load_model
    from breastlens.inference.patients import predict_patients

    served = load_model(ModelSource("a", Path(model)))
    decoder = Decoder(ServiceLimits())
    decoded = decoder.decode(Path(image).read_bytes(), ".png", served.bundle.card.image)
    decoder.end()
    rows = list(served.bundle.engine.stream(decoded.image.pixels[None]))
    predictions = served.predictor.conclude([decoded.image], rows, similar=2)
    assert predict_patients(predictions, ["a"], served.bundle.card)[0].images == 1
    assert served.explain(decoded.image, rows[0]) is not None
    print("served")
    """
    image = next((phantom_dir / "sick").glob("*.png"))
    told = json.dumps([named, str(bundle), str(image)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), told],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip() == "served", done.stderr[-2000:]
