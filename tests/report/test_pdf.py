"""The report as PDF, and the error where its library is missing."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breastlens.errors import BreastLensError
from breastlens.report.page import write_report
from breastlens.report.pdf import require_pdf, write_pdf


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("weasyprint"), r"pip install 'breastlens\[pdf\]'"),
        (OSError("libpango"), "system's Pango"),
    ],
)
def test_a_missing_library_is_named_with_how_to_get_it(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name == "weasyprint":
            raise error
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BreastLensError, match=said):
        require_pdf()


def test_the_pdf_has_the_pages_of_the_report(run_factory: Callable[..., Path]) -> None:
    pytest.importorskip("weasyprint", reason="WeasyPrint is not installed", exc_type=(ImportError, OSError))
    path = write_pdf(write_report(run_factory("run")))
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    assert (
        content.count(b"/Type /Page\n") + content.count(b"/Type /Page>") + content.count(b"/Type /Page ") > 2
    )
