"""Every finding that can be raised has a page, every page is of a finding, and the list names them all."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from breastlens.audit.finding import CODES

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "audit"
PARTS = (
    "**Why it makes a score false.**",
    "**How it is found.**",
    "**How sure it is.**",
    "**What to do.**",
)


def raised_codes() -> set[str]:
    """Codes whose text stands in a module other than that of the codes; those of controls are made from a name."""
    texts: set[str] = set()
    for module in (ROOT / "src" / "breastlens").rglob("*.py"):
        if module.name != "finding.py":
            tree = ast.parse(module.read_text(encoding="utf-8"))
            texts |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    return {code for code in CODES if code in texts or code.removeprefix("shortcut-") in texts}


def pages() -> list[str]:
    return sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "README")


def test_every_code_that_is_raised_has_a_page() -> None:
    raised = raised_codes()
    assert {"few-patients", "shortcut-border", "breast-not-shown", "evaluated-on-training-images"} <= raised
    assert sorted(raised - set(pages())) == []


def test_every_page_is_of_a_code() -> None:
    assert sorted(set(pages()) - set(CODES)) == []


def test_the_list_names_every_page_once() -> None:
    listed = re.findall(
        r"^\| \[([a-z-]+)\]\(([a-z-]+)\.md\) \|", (PAGES / "README.md").read_text("utf-8"), re.M
    )
    assert all(name == file for name, file in listed)
    assert sorted(name for name, _ in listed) == pages()


@pytest.mark.parametrize("code", pages())
def test_a_page_says_what_why_how_how_sure_and_what_to_do(code: str) -> None:
    page = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {code}\n\n")
    places = [page.find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    for target in re.findall(r"\]\(([^)#]+)", page):
        assert (PAGES / target).is_file(), target
