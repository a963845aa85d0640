"""The Python examples of the README run as they stand there, and the guide has every option."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from breastlens.cli import app

README = Path(__file__).resolve().parents[1] / "README.md"
GUIDE = README.parent / "docs" / "guide.md"

# The README trains a large network from ImageNet weights, which Keras downloads. Tests have no network, so that the
# example is run with a small network from random weights; nothing else of it is changed.
DOWNLOADED = 'backbone="densenet121"'
AT_HAND = 'backbone="mobilenet:0.25", weights="none"'


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_python_examples_run_in_order(
    phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("keras")
    blocks = python_blocks()
    assert any("import breastlens as bl" in block and DOWNLOADED in block for block in blocks)
    shutil.copytree(phantom_dir, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, start=1):
        source = block.replace(DOWNLOADED, AT_HAND)
        exec(compile(source, f"README.md, Python block {number}", "exec"), names)
    run = names["run"]
    assert run.metrics["test"]["n"] == 12  # type: ignore[attr-defined]
    assert run.facts["data"]["patients"] == 30, "the manifest in the README tells the patients"  # type: ignore[attr-defined]
    assert (run.directory / "report.html").is_file()  # type: ignore[attr-defined]
    assert list((tmp_path / "runs").iterdir()) == [Path.cwd() / run.directory]  # type: ignore[attr-defined]


def commands() -> list[list[str]]:
    """The commands of the README as words, without their remarks."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("breastlens ")]


def test_the_commands_take_the_manifest_of_their_folder_and_options_that_there_are() -> None:
    group = typer.main.get_command(app)
    reading = []
    for name, *words in commands():
        command = group.commands[name]  # type: ignore[attr-defined]
        command.make_context(name, list(words), resilient_parsing=True)
        known = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known
        folder = next((word for word in words if word in ("data", "other_data")), None)
        if folder is not None:
            reading.append(name)
            assert words[words.index("--manifest") + 1] == f"{folder}/manifest.csv"
    assert {"describe", "train", "evaluate", "audit"} == set(reading)


def test_what_the_readme_reads_leaves_no_warning_of_a_manifest(
    phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(phantom_dir, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    told = next(words for words in commands() if words[0] == "describe")
    app(told, standalone_mode=False)
    assert caplog.text == ""
    app(["describe", "data"], standalone_mode=False)
    assert "a manifest is named with --manifest" in caplog.text


def test_the_guide_has_every_option_of_every_command() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    commands = dict(group.commands)  # type: ignore[attr-defined]
    commands |= commands.pop("cache").commands
    options = {
        (name, option)
        for name, command in commands.items()
        for each in command.params
        for option in each.opts
        if option.startswith("--")
    }
    assert {("plan", "--intraclass-correlation"), ("train", "--repeats"), ("report", "--pdf")} <= options
    missing = [each for each in sorted(options) if not re.search(rf"{each[1]}(?![\w-])", guide)]
    assert missing == [], "options that docs/guide.md does not name"
