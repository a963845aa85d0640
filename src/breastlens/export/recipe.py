"""How an image becomes the square that an exported network takes, in words and numbers, for who has no BreastLens."""

from __future__ import annotations

from typing import Any

from breastlens.config import ImageRecipe
from breastlens.imaging.normalise import MEAN, SPREAD


def describe_preprocessing(recipe: ImageRecipe) -> dict[str, Any]:
    """The steps for people, and the settings for ``prepare.py``, which follows them where it can."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "hidden_border_px": recipe.hidden_border_px,
        "steps": describe_steps(recipe),
        "more_than_resizing": needs_breastlens(recipe),
    }


def describe_steps(recipe: ImageRecipe) -> list[str]:
    """Every step from a file to the square, in order."""
    side = recipe.image_size
    low, high = recipe.temperature_range
    steps = [
        "Decode the first frame upright, as its Exif orientation says; lay transparency on black; leave colours as "
        "they are stored.",
    ]
    if recipe.hide_marks:
        steps.append(
            "Paint over letters, calliper crosses, lines, coloured overlays and marker squares, as "
            "breastlens.imaging.marks.hide_marks does."
        )
    if recipe.crop == "body":
        steps.append(
            "Crop to the box around the largest component that is warmer or brighter than its surroundings, as "
            "breastlens.imaging.preprocess.body_box does; the whole image where no body stands out."
        )
    steps += [
        "Map two values to 0 and 255 in a straight line, round half to even, clip. These values are: "
        f"{low:g} and {high:g} deg C for temperatures; the file's own window for DICOM and for PGM and PPM with a "
        "white level below 255; 0 and 255 for 8 bits, which changes nothing; for all else the percentiles 0.01 and "
        "99.99 of what is left of the image.",
        _resizing(recipe),
        "Where a side shrinks, resize that side first by OpenCV's INTER_AREA; where one grows, then by INTER_CUBIC.",
    ]
    if recipe.normalise == "per-image":
        steps.append(
            f"Shift and scale all grey levels of the image, all channels together, to a mean of {MEAN} and a standard "
            f"deviation of {SPREAD}, round half to even, clip; an image of one level becomes {MEAN}."
        )
    if recipe.fit == "letterbox":
        steps.append(
            f"Put it on the middle of a black square of {side} px, the smaller half of the bars left and above."
        )
    steps.append("Repeat grey in three channels; colours are in the order red, green, blue.")
    if recipe.hide_border:
        steps.append(f"Paint the outermost {recipe.hidden_border_px} px of the square black.")
    steps.append("The network scales grey levels itself: give it 0 to 255 as uint8.")
    return steps


def needs_breastlens(recipe: ImageRecipe) -> list[str]:
    """The steps that ``prepare.py`` does not do, in words; empty where an image is only resized."""
    asked = {
        "painting over marks": recipe.hide_marks,
        "cropping to the body": recipe.crop != "none",
        "normalising grey levels": recipe.normalise != "none",
    }
    return [words for words, needed in asked.items() if needed]


def _resizing(recipe: ImageRecipe) -> str:
    side = recipe.image_size
    if recipe.fit == "stretch":
        return f"Resize to {side}x{side} px, whatever the proportions."
    return (
        f"Resize so that the longer side has {side} px, the shorter in proportion, rounded half to even and at least "
        "1 px."
    )
