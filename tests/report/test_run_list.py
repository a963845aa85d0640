"""The list of runs: what it finds and passes over, how it is filtered and ordered, and its page."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.errors import DataError, RunDirectoryError
from breastlens.report.explorer import script_hash
from breastlens.report.rendering import TEMPLATES
from breastlens.report.run_files import read_run_files, read_told
from breastlens.report.run_list import TEXT_COLUMNS, RunLine, list_runs, put_in_order, select
from breastlens.report.run_list_page import VERDICTS, write_run_page
from breastlens.report.table_files import write_rows
from breastlens.report.wording import verdict, verdict_word

RunFactory = Callable[..., Path]
SCRIPT = TEMPLATES / "runs.js"


def change(run: Path, name: str, **values: Any) -> None:
    """Set keys of a JSON file of a run."""
    path = run / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def control(auc: float, low: float, high: float, margin: tuple[float, float, float]) -> dict[str, Any]:
    ends = dict(zip(("value", "low", "high"), margin, strict=True))
    return {"what": "", "auc": auc, "low": low, "high": high, "margin": ends}


@pytest.fixture
def folder(run_factory: RunFactory, tmp_path: Path) -> Path:
    """A run of each kind in nested folders, one unfinished, one damaged, and what is no run."""
    first = run_factory("runs/a/first")
    change(
        first,
        "metrics.json",
        controls={
            "border": control(0.7, 0.65, 0.8, (0.2, 0.1, 0.3)),
            "noise": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5)),
        },
    )
    run_factory("runs/second", kind="folds")
    shutil.copytree(run_factory("runs/third", kind="external"), tmp_path / "runs" / ".third.unfinished-x1")
    run_factory("runs/damaged")
    (tmp_path / "runs" / "damaged" / "metrics.json").write_text("{")
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def test_finds_what_is_finished_and_names_what_is_damaged(folder: Path) -> None:
    lines, damaged = list_runs(folder)
    assert [line.path for line in lines] == ["a/first", "second", "third"]
    assert [line.part for line in lines] == ["test", "out_of_fold", "external"]
    assert [line.kind for line in lines] == ["train", "train", "evaluate"]
    assert len(damaged) == 1
    assert "damaged/metrics.json is damaged" in damaged[0]
    assert "\n" not in damaged[0]


def test_a_number_that_is_none_is_damage(run_factory: RunFactory, tmp_path: Path) -> None:
    run = run_factory("runs/odd")
    metrics = json.loads((run / "metrics.json").read_text())
    change(run, "metrics.json", test=metrics["test"] | {"auc": float("nan")})
    lines, damaged = list_runs(tmp_path / "runs")
    assert lines == []
    assert "test.auc: Input should be a finite number" in damaged[0]


def test_a_run_is_described_as_its_report_does(folder: Path) -> None:
    first = list_runs(folder)[0][0]
    block = json.loads((folder / "a" / "first" / "metrics.json").read_text())["test"]
    assert (first.images, first.patients, first.auc) == (block["n"], block["patients"], block["auc"])
    assert (first.auc_low, first.auc_high) == (
        block["intervals"]["auc"]["low"],
        block["intervals"]["auc"]["high"],
    )
    assert (first.control, first.control_auc) == ("border", 0.7)
    assert (first.margin, first.margin_low, first.margin_high) == (0.2, 0.1, 0.3)
    assert (first.data, first.backbone, first.strategy) == ("dmr", "mobilenet:0.75", "probe")
    assert (first.date, first.rule) == ("2026-11-22T17:00:00+00:00", "largest balanced accuracy")


def test_a_folder_that_is_a_run_and_one_without(run_factory: RunFactory, tmp_path: Path) -> None:
    assert [line.path for line in list_runs(run_factory("one"))[0]] == ["."]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirectoryError, match="there is no run in it"):
        list_runs(tmp_path / "empty")
    with pytest.raises(RunDirectoryError, match="there is no such folder"):
        list_runs(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("controls", "word"),
    [
        ({}, "no control"),
        ({"border": control(0.85, 0.8, 0.9, (0.05, -0.01, 0.1))}, "breast not shown"),
        ({"border": control(0.7, 0.65, 0.8, (0.2, 0.1, 0.3))}, "partly explained"),
        ({"border": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5))}, "unexplained"),
        (
            {
                "border": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5)),
                "labels": control(0.8, 0.7, 0.9, (0.1, 0.05, 0.15)),
            },
            "leak",
        ),
    ],
)
def test_the_verdict_in_a_word(run_factory: RunFactory, controls: dict[str, Any], word: str) -> None:
    run = run_factory("run")
    change(run, "metrics.json", controls=controls)
    assert verdict_word(read_told(run)) == word
    assert word in VERDICTS


def test_an_auc_that_may_be_chance_needs_no_explanation(run_factory: RunFactory) -> None:
    run = run_factory("run")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["intervals"]["auc"]["low"] = 0.45
    change(run, "metrics.json", **metrics, controls={"border": control(0.5, 0.4, 0.6, (0.4, 0.3, 0.5))})
    assert verdict_word(read_told(run)) == "chance"
    metrics["test"] |= {"auc": None}
    change(run, "metrics.json", **metrics)
    assert verdict_word(read_told(run)) == "no AUC"


def test_an_evaluation_on_training_images_says_so_first(run_factory: RunFactory) -> None:
    run = run_factory("run", kind="external")
    finding = {"code": "evaluated-on-training-images", "severity": "error", "what": "x", "count": 3}
    change(run, "run.json", findings=[finding])
    assert verdict_word(read_told(run)) == "trained on these"


@pytest.mark.parametrize("nameless", [0, 7, None])
def test_what_is_read_quickly_gives_the_verdict_of_the_report(
    run_factory: RunFactory, nameless: int | None
) -> None:
    run = run_factory("run")
    facts = json.loads((run / "run.json").read_text())
    change(run, "run.json", data=facts["data"] | {"images_without_patient": nameless})
    told, whole = read_told(run), read_run_files(run)
    assert (verdict(told), verdict_word(told)) == (verdict(whole), verdict_word(whole))


LINES = [
    RunLine("a", data="BUSI", patients=None, auc=0.9, control_auc=1.0, date="2026-11-22T17:00:00+00:00"),
    RunLine("b", data="dmr", patients=52, auc=0.7, date="2026-11-23T17:00:00+00:00"),
    RunLine("c", data="dmr", patients=60, auc=None, date="2026-10-01T17:00:00+00:00"),
]


CONDITIONS = [
    ([], "abc"), (["auc>=0.7"], "ab"), (["auc > 0.7"], "a"), (["auc<0.8"], "b"), (["auc <= 0.9"], "ab"),
    (["auc = 0.7"], "b"), (["auc != 0.7"], "ac"), (["auc ="], "c"), (["auc !="], "ab"), (["patients ="], "a"),
    (["data = dmr"], "bc"), (["data ~ us"], "a"), (["data != dmr"], "a"), (["data = DMR"], ""),
    (["date >= 2026-11-22"], "ab"), (["date ~ 2026-11"], "ab"), (["data=dmr", "patients<60"], "b"),
    (["patients ~ 5"], "b"), (["auc > 7e-1"], "a"), (["auc < +.8"], "b"), (["control_auc ~ 1.0"], ""),
    (["control_auc ~ 1"], "a"), (["control_auc = 1."], "a"),
]  # fmt: skip


@pytest.mark.parametrize(("conditions", "left"), CONDITIONS)
def test_conditions(conditions: list[str], left: str) -> None:
    assert "".join(line.path for line in select(LINES, conditions)) == left


NO_NUMBERS = ("nan", "inf", "Infinity", "1_000", "0x10", "1e", ".", "\u0661")


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("auc", "takes a column, one of"), ("= 0.7", "takes a column"), ("auk > 0.7", "did you mean auc"),
        ("auc > high", "'high' is none"), ("auc <", "expected a number after <"),
        *((f"auc = {text}", f"{text!r} is none") for text in NO_NUMBERS),
    ],
)  # fmt: skip
def test_conditions_that_are_none(condition: str, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        select(LINES, [condition])


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("auc", "bac"),
        ("-auc", "abc"),
        ("-date", "bac"),
        ("patients", "bca"),
        ("-patients", "cba"),
        ("data", "abc"),
    ],
)
def test_what_has_no_value_comes_last_either_way(column: str, order: str) -> None:
    assert "".join(line.path for line in put_in_order(LINES, column)) == order


def test_an_unknown_column_to_sort_by() -> None:
    with pytest.raises(DataError, match=r"no column 'margins' for --sort.*did you mean margin"):
        put_in_order(LINES, "-margins")


def test_the_table_as_csv_has_all_columns(folder: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "runs.csv", [line._asdict() for line in list_runs(folder)[0]])
    with (tmp_path / "runs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(RunLine._fields)
    assert float(rows[0]["margin"]) == 0.2
    assert rows[2]["margin"] == ""


def test_the_page_is_a_table_without_scripts_and_links_to_reports(folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "first" / "report.html").write_text("")
    odd = folder / "<b>#1"
    shutil.copytree(folder / "second", odd)
    (odd / "report.html").write_text("")
    (tmp_path / "pages").mkdir()
    page = write_run_page(tmp_path / "pages" / "runs.html", folder, list_runs(folder)[0]).read_text()
    assert 'href="../runs/a/first/report.html"' in page
    assert 'href="../runs/%3Cb%3E%231/report.html"' in page
    assert "&lt;b&gt;#1</a>" in page
    assert page.count('<th scope="row"') == 4
    assert page.count("<a href=") == 2  # what has no report has no link
    assert f"script-src '{script_hash(SCRIPT.read_text())}'" in page
    assert "src=" not in page.replace("script-src", "")
    assert "http" not in page.replace("http-equiv", "")
    assert "partly explained</strong>" in page
    assert "not all judged on the same split" not in page


def in_node(program: str) -> Any:
    """What a program prints as JSON that has the functions of the page's script in ``r``."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    program = f"const r = require({json.dumps(str(SCRIPT))}); console.log(JSON.stringify({program}));"
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


NAMES = [
    "run-10",
    "run-9",
    "Run-09b",
    "b",
    "a/2",
    "a-2",
    "A10",
    "9",
    "10",
    "run",
    "é",
    "run-9-1",
    "2026-11-22",
]


def test_text_is_put_in_the_same_order_here_and_in_the_page() -> None:
    here = [line.path for line in put_in_order([RunLine(name) for name in NAMES], "path")]
    assert here == [
        *("9", "10", "2026-11-22", "A10", "a-2", "a/2", "b", "run", "run-9"),
        *("run-9-1", "Run-09b", "run-10", "é"),
    ]
    asked = f"{json.dumps(NAMES)}.sort((a, b) => r.compareValues(a, b, false))"
    assert in_node(asked) == here


def test_sorting_in_the_page() -> None:
    def order(values: str, down: str) -> Any:
        # in objects, since sort() would not even ask about what is undefined
        compare = f"(a, b) => r.compareValues(a.x, b.x, {down})"
        return in_node(f"{values}.map((x) => ({{x}})).sort({compare}).map((a) => a.x ?? null)")

    assert order("[10, undefined, 9, -0.5]", "false") == [-0.5, 9, 10, None]
    assert order("[10, undefined, 9, 0]", "true") == [10, 9, 0, None]
    assert order("['run-10', undefined, 'run-9']", "false") == ["run-9", "run-10", None]


@pytest.mark.parametrize("conditions", [case[0] for case in CONDITIONS])
def test_conditions_mean_the_same_in_the_page(conditions: list[str]) -> None:
    columns = {name: name in TEXT_COLUMNS for name in RunLine._fields}
    rows = [
        {name: value for name, value in line._asdict().items() if value not in (None, "")} for line in LINES
    ]
    asked = json.dumps(" ".join(conditions))
    kept = f"r.readFilter({asked}, {json.dumps(columns)}).tests.every((test) => test(line, ''))"
    left = in_node(f"{json.dumps(rows)}.filter((line) => {kept}).map((line) => line.path).join('')")
    assert left == "".join(line.path for line in select(LINES, conditions))


def test_words_beside_conditions_in_the_page() -> None:
    columns = json.dumps({name: name in TEXT_COLUMNS for name in RunLine._fields})

    def read(text: str) -> Any:
        found = f"r.readFilter({json.dumps(text)}, {columns})"
        line = "{auc: 0.9, verdict: 'no control'}, 'mobilenet dmr 0.90'"
        return in_node(f"[{found}.tests.every((test) => test({line})), {found}.refused]")

    assert read("") == [True, []]
    assert read("DMR mob") == [True, []]
    assert read("dmr vgg") == [False, []]
    assert read('dmr auc > 0.8 verdict="no control"') == [True, []]
    assert read("auc>0.95 dmr") == [False, []]
    assert read("auc> dmr auc<high") == [True, ["auc> dmr (no number)", "auc<high (no number)"]]
    assert read("size>3 dmr") == [True, ["size>3 (no such column)"]]
    for text in NO_NUMBERS:
        assert read(f"auc={text}") == [True, [f"auc={text} (no number)"]]
