"""The steps in words."""

from __future__ import annotations

from breastlens.config import ImageRecipe
from breastlens.export.recipe import describe_steps, needs_breastlens


def test_each_setting_has_its_step():
    plain = describe_steps(ImageRecipe())
    assert needs_breastlens(ImageRecipe()) == []
    for change, said in (
        ({"hide_marks": True}, "Paint over letters"),
        ({"crop": "body"}, "Crop to the box"),
        ({"normalise": "per-image"}, "mean of 128 and a standard deviation of 51"),
        ({"fit": "letterbox"}, "the middle of a black square of 128 px"),
        ({"hide_border": True}, "outermost 8 px"),
        ({"temperature_range": (21.5, 36.0)}, "21.5 and 36 deg C"),
        ({"image_size": 96}, "Resize to 96x96 px"),
    ):
        steps = describe_steps(ImageRecipe(**change))
        assert any(said in step for step in steps)
        assert not any(said in step for step in plain)
