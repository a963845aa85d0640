"""Figures: what is drawn where, and that no name and no missing class can break one."""

from __future__ import annotations

import json
import logging
import struct
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from breastlens.report import canvas, figures, most_wrong

NAMES = ("healthy", "sick")
HOSTILE = [
    "$x$",
    r"$\frac{",
    "a_b^c",
    r"\alpha",
    "<script>",
    "x" * 300,
    "a\nb\tc",
    "健康",
    "العربية",
    "\udc80.png",
    "",
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved during the test, in order."""
    kept: list[Figure] = []

    def save(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return canvas.save(figure, path)

    for module in (figures, most_wrong):
        monkeypatch.setattr(module, "save", save)
    return kept


def texts_of(figure: Figure) -> str:
    return "\n".join(item.get_text() for item in figure.findobj(Text) if item.get_text())


def size_px(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_confusion_matrix_shows_counts_and_row_percentages(tmp_path: Path, drawn: list[Figure]) -> None:
    path = figures.draw_confusion_matrix([[90, 10], [3, 1]], NAMES, tmp_path / "matrix.png")
    cells = [item.get_text() for item in drawn[0].axes[0].texts]
    assert cells == ["90\n90.0%", "10\n10.0%", "3\n75.0%", "1\n25.0%"]
    assert [tick.get_text() for tick in drawn[0].axes[0].get_yticklabels()] == ["healthy", "sick"]
    assert drawn[0].axes[0].yaxis_inverted()  # healthy stands above, as in [[tn, fp], [fn, tp]]
    assert size_px(path) == (round(4.6 * 192), round(4.2 * 192))


def test_confusion_matrix_of_an_absent_class_says_so(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.draw_confusion_matrix([[4, 6], [0, 0]], NAMES, tmp_path / "matrix.png")
    assert [item.get_text() for item in drawn[0].axes[0].texts][2:] == ["0\n(no image)"] * 2


def test_roc_runs_through_the_points_and_marks_the_operating_point(
    tmp_path: Path,
    drawn: list[Figure],
    scores: tuple[np.ndarray, np.ndarray],
    block_factory: Callable[..., dict[str, Any]],
) -> None:
    block = json.loads(json.dumps(block_factory(*scores)))
    figures.draw_roc(block, tmp_path / "roc.png")
    chance, curve, point = drawn[0].axes[0].lines
    assert list(chance.get_xdata()) == list(chance.get_ydata()) == [0, 1]
    np.testing.assert_array_equal(curve.get_xdata(), block["roc"]["fpr"])
    np.testing.assert_array_equal(curve.get_ydata(), block["roc"]["tpr"])
    where = float(point.get_xdata()[0]), float(point.get_ydata()[0])
    assert where == pytest.approx((1 - block["specificity"], block["sensitivity"]), abs=1e-12)
    interval = block["intervals"]["auc"]
    expected = f"AUC {block['auc']:.3f} (95% interval {interval['low']:.3f} to {interval['high']:.3f})"
    assert expected in texts_of(drawn[0])


def test_legends_have_three_decimals_as_the_text_has(
    tmp_path: Path, drawn: list[Figure], block_factory: Callable[..., dict[str, Any]]
) -> None:
    y_true = np.repeat([0, 1], [41, 40])
    y_score = np.concatenate([np.linspace(0, 0.4, 41), np.linspace(0.4, 0.9, 40)])  # 1 of 40 is missed
    block = block_factory(y_true, y_score)
    figures.draw_roc(block, tmp_path / "roc.png")
    figures.draw_precision_recall(block, tmp_path / "curve.png")
    assert "threshold 0.41: sensitivity 0.975, specificity 1.000" in texts_of(drawn[0])
    assert "threshold 0.41: precision 1.000, recall 0.975" in texts_of(drawn[1])
    assert "prevalence 0.494" in texts_of(drawn[1])


def test_precision_recall_encloses_the_average_precision(
    tmp_path: Path,
    drawn: list[Figure],
    scores: tuple[np.ndarray, np.ndarray],
    block_factory: Callable[..., dict[str, Any]],
) -> None:
    block = block_factory(*scores)
    figures.draw_precision_recall(block, tmp_path / "curve.png")
    prevalence, curve, point = drawn[0].axes[0].lines
    assert prevalence.get_ydata()[0] == pytest.approx(block["positives"] / block["n"])
    assert curve.get_drawstyle() == "steps-post"
    recall, precision = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
    area = float(np.sum((recall[:-1] - recall[1:]) * precision[:-1]))  # what "steps-post" encloses
    assert area == pytest.approx(block["average_precision"], abs=1e-12)
    where = float(point.get_xdata()[0]), float(point.get_ydata()[0])
    assert where == pytest.approx((block["sensitivity"], block["ppv"]), abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_a_statement_instead_of_curves(
    label: int, tmp_path: Path, drawn: list[Figure], block_factory: Callable[..., dict[str, Any]]
) -> None:
    block = block_factory(np.full(9, label), np.linspace(0, 1, 9))
    missing = "positive" if label == 0 else "negative"
    figures.draw_roc(block, tmp_path / "roc.png")
    figures.draw_precision_recall(block, tmp_path / "curve.png")
    for figure in drawn:
        assert f"no {missing} image in this part" in texts_of(figure).replace("\n", " ")
        assert not figure.axes[0].lines


def test_scores_are_counted_by_class_and_side(
    tmp_path: Path, drawn: list[Figure], scores: tuple[np.ndarray, np.ndarray]
) -> None:
    y_true, y_score = scores
    y_score = y_score.copy()
    y_score[np.flatnonzero(y_true == 1)[0]] = 0.41  # at the threshold is called positive
    figures.draw_scores(y_true, y_score, 0.41, NAMES, tmp_path / "scores.png")
    for label, axes in enumerate(drawn[0].axes):
        expected, _ = np.histogram(y_score[y_true == label], bins=np.linspace(0, 1, 21))
        assert [bar.get_height() for bar in axes.patches] == list(expected)
        assert axes.lines[-1].get_xdata()[0] == 0.41
        wrong = np.sum((y_score[y_true == label] >= 0.41) != bool(label))
        assert f"{np.sum(y_true == label)} images, {wrong} on the wrong side" in axes.get_title(loc="left")


def test_folds_with_their_own_thresholds_have_no_one_line(
    tmp_path: Path,
    drawn: list[Figure],
    scores: tuple[np.ndarray, np.ndarray],
    block_factory: Callable[..., dict[str, Any]],
) -> None:
    figures.draw_scores(*scores, None, NAMES, tmp_path / "scores.png")
    figures.draw_roc(block_factory(*scores) | {"threshold": None}, tmp_path / "roc.png")
    assert not any(axes.lines for axes in drawn[0].axes)
    assert "wrong side" not in texts_of(drawn[0])
    assert "each fold's own threshold: sensitivity" in texts_of(drawn[1])


def test_scores_of_one_class_are_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    figures.draw_scores([0, 0], [0.1, 0.2], 0.5, NAMES, tmp_path / "scores.png")
    assert "sick: 0 images" in drawn[0].axes[1].get_title(loc="left")
    assert not drawn[0].axes[1].patches


@pytest.mark.parametrize("through_csv", [False, True])
def test_history_of_folds_has_thin_lines_and_their_mean(
    through_csv: bool, tmp_path: Path, drawn: list[Figure], history_factory: Callable[..., pd.DataFrame]
) -> None:
    history = history_factory(folds=3, epochs=4)
    # Early stopping: the mean goes only as far as every fold does.
    history = history[(history["fold"] != 2) | (history["epoch"] < 3) | (history["phase"] == "probe")]
    if through_csv:
        history.to_csv(tmp_path / "history.csv", index=False)
        history = pd.read_csv(tmp_path / "history.csv")
    figures.draw_history(history, tmp_path / "history.png")
    strength, loss, auc = drawn[0].axes
    assert [len(axes.lines) for axes in (strength, loss, auc)] == [4, 8, 8]
    mean = auc.lines[7]
    tuned = history[history["phase"] == "finetune"]
    expected = [tuned.loc[tuned["epoch"] == epoch, "val_auc"].mean() for epoch in range(3)]
    np.testing.assert_allclose(mean.get_ydata(), expected)
    assert mean.get_label() == "validation, mean of 3 folds"
    assert [text.get_text() for text in auc.get_legend().get_texts()] == [
        "training, each fold",
        "training, mean of 3 folds",
        "validation, each fold",
        "validation, mean of 3 folds",
    ]
    assert strength.get_xscale() == "log"
    assert "0.01" in [tick.get_text() for tick in strength.get_xticklabels()]


@pytest.mark.parametrize("through_csv", [False, True])
@pytest.mark.parametrize(
    ("options", "panels"), [({}, 1), ({"epochs": 5}, 3), ({"epochs": 1, "strengths": 0}, 2)]
)
def test_history_without_folds_is_one_line_a_curve(
    options: dict[str, int],
    panels: int,
    through_csv: bool,
    tmp_path: Path,
    drawn: list[Figure],
    history_factory: Callable[..., pd.DataFrame],
) -> None:
    history = history_factory(**options)
    if through_csv:
        history.to_csv(tmp_path / "history.csv", index=False)
        history = pd.read_csv(tmp_path / "history.csv")
    figures.draw_history(history, tmp_path / "history.png")
    assert len(drawn[0].axes) == panels
    for axes in drawn[0].axes[-2:] if panels > 1 else ():
        assert [line.get_label() for line in axes.lines] == ["training", "validation"]
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_history_tells_the_model_of_everyone_from_the_folds(
    tmp_path: Path, drawn: list[Figure], history_factory: Callable[..., pd.DataFrame]
) -> None:
    history = history_factory(folds=3)
    final = history[history["fold"] == 0].assign(fold="everyone", val_auc=0.5)
    figures.draw_history(pd.concat([history, final]), tmp_path / "history.png")
    *thin, mean, dashed = drawn[0].axes[0].lines
    assert len(thin) == 3
    np.testing.assert_allclose(mean.get_ydata(), history.groupby("strength")["val_auc"].mean())
    assert dashed.get_label() == "inner folds, everyone"
    assert set(dashed.get_ydata()) == {0.5}


def test_a_long_legend_stays_clear_of_the_label(
    tmp_path: Path, drawn: list[Figure], history_factory: Callable[..., pd.DataFrame]
) -> None:
    history = history_factory(folds=3, epochs=4)
    final = history[history["fold"] == 0].assign(fold="everyone")
    figures.draw_history(pd.concat([history, final]), tmp_path / "history.png")
    for axes in drawn[0].axes:
        assert axes.get_legend().get_window_extent().y1 < axes.xaxis.label.get_window_extent().y0
        assert axes.get_legend().get_window_extent().y0 > 0
        assert axes.get_window_extent().height > 1.8 * canvas.DPI


@pytest.mark.parametrize("through_csv", [False, True])
def test_history_without_rows_is_a_statement(
    through_csv: bool, tmp_path: Path, drawn: list[Figure], history_factory: Callable[..., pd.DataFrame]
) -> None:
    history = history_factory(folds=0)
    if through_csv:
        history.to_csv(tmp_path / "history.csv", index=False)
        history = pd.read_csv(tmp_path / "history.csv")
    figures.draw_history(history, tmp_path / "history.png")
    assert "No training history" in texts_of(drawn[0])


def test_most_wrong_rows_are_the_confident_mistakes_first() -> None:
    predictions = pd.DataFrame(
        [
            ("right", 1, 0.99, 1),
            ("b", 0, 0.9, 1),
            ("a", 1, 0.1, 0),
            ("little", 0, 0.5, 1),
            ("most", 1, 0.01, 0),
        ],
        columns=["path", "y_true", "y_score", "y_pred"],
    )
    assert list(most_wrong.most_wrong_rows(predictions)["path"]) == ["most", "a", "b", "little"]
    assert list(most_wrong.most_wrong_rows(predictions, limit=2)["path"]) == ["most", "a"]


@pytest.mark.parametrize(("count", "panels", "rows"), [(1, 4, 1), (5, 8, 2), (15, 12, 3)])
def test_most_wrong_sheet_has_up_to_twelve_images(
    count: int, panels: int, rows: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (count, 16, 16, 3), dtype=np.uint8)
    path = most_wrong.draw_most_wrong(
        images, [f"image {number}" for number in range(count)], tmp_path / "sheet.png"
    )
    assert len(drawn[0].axes) == panels
    shown = [axes for axes in drawn[0].axes if axes.images]
    assert len(shown) == min(count, 12)
    np.testing.assert_array_equal(shown[-1].images[0].get_array(), images[len(shown) - 1])
    assert shown[-1].get_title() == f"image {len(shown) - 1}"
    assert size_px(path)[1] == int(2.85 * 192 * rows)


def test_titles_of_the_sheet_keep_suffixes_and_do_not_touch(tmp_path: Path, drawn: list[Figure]) -> None:
    titles = [
        "MALIGNANT/IMG_20260131_PATIENT_0042_LEFT_MLO.png\nMALIGNANT MASS, score 0.123",
        "benign/benign (433).png\nbenign or normal, score 0.972",
        "X" * 60 + ".png\nhealthy, score 0.900",
        "a/rather/deep/tree/of/folders/that/goes/on/0042.png\nsick, score 0.046",
    ]
    most_wrong.draw_most_wrong(np.zeros((4, 16, 16, 3), np.uint8), titles, tmp_path / "sheet.png")
    shown = [axes.get_title() for axes in drawn[0].axes]
    assert shown[1] == "benign/benign (433).png\nbenign or nor… score 0.972"
    assert shown[3].splitlines()[1] == "0042.png"
    lines = [line for title in shown for line in title.splitlines()]
    assert ".png" not in lines
    assert sum(line.endswith(".png") for line in lines) == 4
    assert all(title.splitlines()[-1][-5:] == given[-5:] for title, given in zip(shown, titles, strict=True))
    boxes = [axes.title.get_window_extent() for axes in drawn[0].axes]
    room = 0.1 * canvas.DPI
    assert all(left.x1 + room < right.x0 for left, right in pairwise(boxes))
    assert boxes[0].x0 > 0
    assert boxes[-1].x1 < drawn[0].bbox.x1


def test_most_wrong_sheet_has_maps_beside_the_images(tmp_path: Path, drawn: list[Figure]) -> None:
    images = np.full((3, 48, 48, 3), 100, np.uint8)
    maps = np.zeros((3, 48, 48), np.float32)
    maps[0, :24], maps[1, :24] = 1e-3, -5e-4
    titles = ["one", "two", "three"]
    most_wrong.draw_most_wrong(images, titles, tmp_path / "sheet.png", maps=maps, positive="malignant")
    *panels, bar = drawn[0].axes
    assert [axes.get_title() for axes in panels] == [*titles, ""]
    pictures = [np.asarray(axes.images[0].get_array()).astype(int) for axes in panels[:3]]
    assert all(picture.shape == (48, 2 * 48 + 2, 3) for picture in pictures)
    assert all(np.array_equal(picture[:, :48], images[0]) for picture in pictures)
    first, second, third = (picture[10, 60] for picture in pictures)
    assert first[0] > first[2] + 100, "orange"
    assert 0 < second[2] - second[0] < 100, "half as blue, on the same scale"
    assert np.array_equal(third, [100, 100, 100])
    assert bar.get_xlim() == pytest.approx((-1e-3 * 48 * 48 / 100, 1e-3 * 48 * 48 / 100))
    label = bar.get_xlabel()
    assert "orange for malignant" in label
    assert "not where a lesion is" in label


def test_most_wrong_sheet_without_mistakes_says_so(tmp_path: Path, drawn: list[Figure]) -> None:
    most_wrong.draw_most_wrong(np.zeros((0, 8, 8, 3), np.uint8), [], tmp_path / "sheet.png")
    assert "No image was on the wrong side" in texts_of(drawn[0])


def test_most_wrong_sheet_refuses_titles_that_do_not_match(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 2 images and 1 titles"):
        most_wrong.draw_most_wrong(np.zeros((2, 8, 8, 3), np.uint8), ["one"], tmp_path / "sheet.png")


def test_comparison_draws_dots_whiskers_and_controls(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [
        figures.ComparisonRow("first", 0.91, 0.86, 0.95, border=0.4),
        figures.ComparisonRow("second", None),
        figures.ComparisonRow("third", 0.8),
    ]
    figures.draw_comparison(rows, tmp_path / "comparison.png")
    axes = drawn[0].axes[0]
    chance, whisker, first, border, third = axes.lines
    assert list(whisker.get_xdata()) == [0.86, 0.95]
    assert list(whisker.get_ydata()) == [0, 0]
    assert [float(line.get_xdata()[0]) for line in (chance, first, border, third)] == [0.5, 0.91, 0.4, 0.8]
    assert axes.yaxis_inverted()
    assert axes.get_xlim()[0] < 0.4
    assert [item.get_text() for item in axes.texts] == ["0.910", "no AUC", "0.800"]


def test_dollar_signs_are_drawn_as_they_are(tmp_path: Path) -> None:
    drawn = []
    for name in ("a$b$c", r"a\$b\$c"):
        figure = canvas.new_figure(2, 1)
        figure.text(0.1, 0.5, name, parse_math=True)
        drawn.append(figure)
    canvas.save(drawn[0], tmp_path / "literal.png")
    drawn[1].savefig(tmp_path / "escaped.png", dpi=canvas.DPI, metadata={"Software": None})
    assert (tmp_path / "literal.png").read_bytes() == (tmp_path / "escaped.png").read_bytes()


@pytest.mark.parametrize("name", HOSTILE)
def test_every_figure_survives_any_name(name: str, tmp_path: Path) -> None:
    names = (name, f"not {name}")
    figures.draw_confusion_matrix([[5, 1], [2, 7]], names, tmp_path / "matrix.png")
    figures.draw_scores([0, 1, 1], [0.2, 0.4, 0.9], 0.5, names, tmp_path / "scores.png")
    most_wrong.draw_most_wrong(
        np.zeros((1, 8, 8, 3), np.uint8), [f"{name}\nscore 0.9"], tmp_path / "sheet.png"
    )
    figures.draw_comparison([figures.ComparisonRow(name, 0.8, 0.7, 0.9)], tmp_path / "comparison.png")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200), width=st.integers(5, 40), lines=st.integers(1, 4))
def test_wrapping_keeps_within_its_room(text: str, width: int, lines: int) -> None:
    wrapped = canvas.wrap(text, width, lines=lines).split("\n")
    assert len(wrapped) <= lines
    assert all(len(line) <= width for line in wrapped)


def test_wrapping_keeps_both_ends() -> None:
    assert canvas.wrap("sick/visit_one/image_0001_left.png", 21, lines=1) == "sick/visit…1_left.png"


def test_characters_without_a_font_are_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert canvas.wrap("a\U0010fffdb", 10, lines=1) == f"a{canvas.REPLACEMENT}b"
    assert "no installed font can draw" in caplog.text


def test_another_installed_font_steps_in() -> None:
    # Matplotlib ships STIXGeneral, which has this sign; its DejaVu Sans has not.
    families, lacking = canvas.font_families(frozenset("a\N{MATHEMATICAL SCRIPT CAPITAL A}"))
    assert families[0] == "DejaVu Sans"
    assert not lacking


def test_pyplot_keeps_no_figure(tmp_path: Path) -> None:
    from matplotlib import pyplot

    figures.draw_scores([0, 1], [0.2, 0.9], 0.5, NAMES, tmp_path / "scores.png")
    figures.draw_confusion_matrix([[1, 0], [0, 1]], NAMES, tmp_path / "matrix.png")
    assert pyplot.get_fignums() == []


def test_importing_the_room_does_not_import_matplotlib() -> None:
    code = (
        "import sys, breastlens.report.page, breastlens.report.comparison;"
        "print(sorted({'matplotlib', 'seaborn', 'sklearn', 'keras'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
