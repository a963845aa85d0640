"""What importing BreastLens costs, and that its public names exist."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import breastlens

HEAVY = ("keras", "tensorflow", "openvino", "matplotlib", "seaborn", "sklearn", "scipy", "pydicom", "pandas")


def _modules_after(code: str) -> set[str]:
    listing = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listing.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not set(HEAVY) & _modules_after("import breastlens")


@pytest.mark.parametrize(
    "module", ["breastlens.inference.predictor", "breastlens.runs.evaluate", "breastlens.cli"]
)
def test_using_a_model_never_imports_keras_or_tensorflow(module: str) -> None:
    assert not {"keras", "tensorflow"} & _modules_after(f"import {module}")


def test_every_public_name_can_be_had() -> None:
    for name in breastlens.__all__:
        assert getattr(breastlens, name) is not None
    assert set(breastlens._HOME) | {"__version__"} == set(breastlens.__all__)


def test_no_public_name_is_that_of_a_package() -> None:
    """Python sets a package's name on its parent once it is imported, whatever stood there."""
    packages = {found.name for found in pkgutil.iter_modules(breastlens.__path__)}
    assert not packages & set(breastlens.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        breastlens.trian  # noqa: B018
