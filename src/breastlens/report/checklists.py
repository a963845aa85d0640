"""The reporting checklists of a run: what software can fill is filled, the rest stays blank for the authors."""

from __future__ import annotations

from typing import NamedTuple

from breastlens.report.checklist_facts import Known, known_facts
from breastlens.report.checklist_items import ITEMS, SOURCES, Item
from breastlens.report.flow import FlowTable
from breastlens.report.run_files import RunFiles

NAME = "checklists.html"
FILLED, PARTLY, BLANK = "filled", "partly filled", "for the authors"


class ChecklistRow(NamedTuple):
    """One item: its status, what the run says of it, and where in the report that stands."""

    guideline: str
    number: str
    topic: str
    status: str
    text: str
    places: list[tuple[str, str]]


class Checklist(NamedTuple):
    """One guideline with its source and its items."""

    guideline: str
    source: str
    rows: list[ChecklistRow]

    def count(self, status: str) -> int:
        """How many items have a status."""
        return sum(row.status == status for row in self.rows)


def checklists(files: RunFiles, flow: FlowTable) -> list[Checklist]:
    """Fill TRIPOD+AI, CLAIM 2024 and STARD-AI as far as the run's files go."""
    known = known_facts(files, flow)
    rows = [_fill(item, known) for item in ITEMS]
    return [
        Checklist(name, source, [row for row in rows if row.guideline == name])
        for name, source in SOURCES.items()
    ]


def summary(found: list[Checklist]) -> str:
    """How much of each is filled, in a sentence."""
    told = (
        f"{each.guideline} {each.count(FILLED)} filled and {each.count(PARTLY)} partly of {len(each.rows)}"
        for each in found
    )
    return f"Of the items, software can fill what it measured: {'; '.join(told)}. The rest is marked for the authors."


def _fill(item: Item, known: dict[str, Known]) -> ChecklistRow:
    answers = [known[name] for name in item.facts if name in known]
    status = BLANK if not answers else FILLED if item.whole and len(answers) == len(item.facts) else PARTLY
    places = dict.fromkeys((answer.anchor, answer.place) for answer in answers)
    return ChecklistRow(
        item.guideline,
        item.number,
        item.topic,
        status,
        " ".join(answer.text for answer in answers),
        list(places),
    )
