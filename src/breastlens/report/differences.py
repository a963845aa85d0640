"""Every two of several runs set against each other: rows of the comparison's table, and the picture of differences."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from breastlens.report.canvas import INK, MUTED, NEGATIVE, dress, new_figure, save, wrap
from breastlens.report.rendering import Picture, embed
from breastlens.report.tables import MetricCell
from breastlens.report.wording import count_text

_WIDTH_IN = 9.4
_SHOWN = {"accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity"}


class PairLine(NamedTuple):
    """One pair in the table of pairs, as text: a row a figure."""

    name: str
    rows: list[tuple[str, list[MetricCell]]]


def pair_columns(paired: Mapping[str, Any]) -> list[str]:
    """Headings of the figures in the table of pairs."""
    columns = ["Difference", "Right alone", "p"]
    return [*columns, f"Within {paired['margin']:g}"] if paired["margin"] is not None else columns


def pair_lines(paired: Mapping[str, Any]) -> list[PairLine]:
    """The table of pairs.

    Args:
        paired: From ``breastlens.runs.pairs.compare_pairs``.
    """
    return [PairLine(_name(pair), _figures(pair, paired["margin"])) for pair in paired["pairs"]]


def pair_rows(paired: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of pairs.csv, with the numbers of comparison.json.

    Args:
        paired: From ``breastlens.runs.pairs.compare_pairs``.
    """
    return [_pair_row(pair) for pair in paired["pairs"]]


def pair_sentence(pair: Mapping[str, Any], margin: float | None) -> str:
    """What one pair comes to, in a line: the difference in AUC, its interval and its corrected p-value."""
    auc = pair["differences"]["auc"]
    if auc["value"] is None:
        return f"{_name(pair)}: no AUC"
    ends = f" ({auc['low']:+.3f} to {auc['high']:+.3f})" if auc["low"] is not None else ", no interval"
    said = f"{_name(pair)}: AUC {auc['value']:+.3f}{ends}"
    if pair["auc_p_holm"] is not None:
        said += f", p {_p_text(pair['auc_p_holm'])}"
    return said if margin is None else f"{said}; {_inferiority_text(pair, margin)}"


def size_sentence(paired: Mapping[str, Any]) -> str:
    """How many images and patients all runs judged, and how many more each."""
    patients = "" if paired["patients"] is None else f" of {count_text(paired['patients'], 'patient')}"
    said = f"Compared on the {count_text(paired['images'], 'image')}{patients} that all runs judged"
    more = [f"{name} {count}" for name, count in paired["left_out"].items() if count]
    return f"{said}; left out of {', '.join(more)}." if more else f"{said}."


def picture_differences(paired: Mapping[str, Any]) -> Picture:
    """Differences in AUC with their intervals, a line a pair; dashed: none, dotted: the margin."""
    with tempfile.TemporaryDirectory() as place:
        png = _draw(paired["pairs"], paired["margin"], Path(place) / "differences.png").read_bytes()
    said = "; ".join(pair_sentence(pair, None) for pair in paired["pairs"])
    margin = "" if paired["margin"] is None else " Dotted: the margin of non-inferiority."
    return embed(
        png,
        caption=f"Difference in AUC of each pair; the whisker is its interval. Dashed: no difference.{margin}",
        alternative=f"Differences in AUC: {said}.",
    )


def _draw(pairs: Sequence[Mapping[str, Any]], margin: float | None, path: Path) -> Path:
    figure = new_figure(_WIDTH_IN, 1.2 + 0.5 * len(pairs))
    axes = figure.subplots()
    axes.axvline(0.0, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    for end in (-margin, margin) if margin is not None else ():
        axes.axvline(end, color=MUTED, linewidth=1.2, linestyle=":")
    for height, pair in enumerate(pairs):
        auc = pair["differences"]["auc"]
        if auc["value"] is None:
            axes.annotate("no AUC", (0, height), va="center", fontsize=9, color=MUTED)
            continue
        if auc["low"] is not None:
            axes.plot(
                [auc["low"], auc["high"]],
                [height, height],
                color=NEGATIVE,
                linewidth=2,
                solid_capstyle="butt",
            )
        axes.plot(auc["value"], height, marker="o", markersize=8, linestyle="none", color=NEGATIVE)
        axes.annotate(
            f"{auc['value']:+.3f}",
            (auc["value"], height),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=INK,
        )
    dress(axes, x_label="difference in AUC, with its interval where there is one", y_label="")
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(pairs)), [wrap(_name(pair), 34, lines=3) for pair in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    return save(figure, path)


def _name(pair: Mapping[str, Any]) -> str:
    return f"{pair['first']} less {pair['second']}"


def _figures(pair: Mapping[str, Any], margin: float | None) -> list[tuple[str, list[MetricCell]]]:
    auc, none = pair["differences"]["auc"], MetricCell("")
    within = [] if margin is None else [MetricCell(", ".join(_shown_within(pair)) or "none shown")]
    rows = [("AUC", [_difference_cell(auc), none, _p_cell(pair["auc_p_holm"], auc["p_value"]), *within])]
    for name, title in _SHOWN.items():
        test = pair["mcnemar"][name] or {}
        cells = [
            _difference_cell(pair["differences"][name]),
            MetricCell(f"{test['only_first']} : {test['only_second']}" if test else "–"),
            _p_cell(pair[f"{name}_p_holm"], test.get("p_value")),
        ]
        rows.append((title, [*cells, *(none for _ in within)]))
    return rows


def _pair_row(pair: Mapping[str, Any]) -> dict[str, Any]:
    row = {"first": pair["first"], "second": pair["second"]}
    for name, found in pair["differences"].items():
        row |= {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
    for name, found in pair["mcnemar"].items():
        row |= {f"{name}_{key}": (found or {}).get(key) for key in ("only_first", "only_second")}
    row |= {key: value for key, value in pair.items() if key.endswith("_p_holm")}
    return row | {f"not_inferior_{side}": shown for side, shown in pair.get("not_inferior", {}).items()}


def _difference_cell(found: Mapping[str, Any]) -> MetricCell:
    if found["value"] is None:
        return MetricCell("–")
    ends = "" if found["low"] is None else f"{found['low']:+.3f} to {found['high']:+.3f}"
    return MetricCell(f"{found['value']:+.3f}", ends)


def _p_cell(corrected: float | None, alone: float | None) -> MetricCell:
    return MetricCell(_p_text(corrected), "" if alone is None else f"alone {_p_text(alone)}")


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _inferiority_text(pair: Mapping[str, Any], margin: float) -> str:
    shown = _shown_within(pair)
    if not shown:
        return f"neither is shown to be at most {margin:g} worse than the other"
    if len(shown) == 2:
        return f"each is at most {margin:g} worse than the other"
    return f"{shown[0]} is at most {margin:g} worse"


def _shown_within(pair: Mapping[str, Any]) -> list[str]:
    """Those of the two that are shown not to be inferior by the margin."""
    return [pair[side] for side in ("first", "second") if pair["not_inferior"][side]]
