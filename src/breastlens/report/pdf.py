"""report.pdf: the report page on A4, by WeasyPrint, which reads the same HTML and its rules for print."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from breastlens.errors import BreastLensError, MissingDependencyError, RunDirectoryError

PDF_NAME = "report.pdf"
logger = logging.getLogger(__name__)


def write_pdf(page: Path) -> Path:
    """Print a report page into report.pdf beside it; nothing is fetched for it.

    Args:
        page: The HTML file.

    Raises:
        MissingDependencyError: WeasyPrint is not installed.
        BreastLensError: It does not find the system's Pango.
        RunDirectoryError: The page cannot be read.
    """
    weasyprint = require_pdf()
    path = page.with_name(PDF_NAME)
    try:
        html = page.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise RunDirectoryError(f"{page} cannot be read: {error.strerror}") from error
    # It warns of every rule that is only for screens.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    weasyprint.HTML(string=html, base_url=None).write_pdf(path)
    return path


def require_pdf() -> Any:
    """WeasyPrint, or how to get it.

    Raises:
        MissingDependencyError: It is not installed.
        BreastLensError: It does not find the system's Pango.
    """
    try:
        import weasyprint
    except ImportError as error:
        raise MissingDependencyError("WeasyPrint", "pdf", "a report as PDF") from error
    except OSError as error:  # the package is there, and the library that it calls is not
        raise BreastLensError(
            "a report as PDF needs the system's Pango, which WeasyPrint does not find: install it (Debian and Ubuntu: "
            "apt-get install libpango-1.0-0 libpangoft2-1.0-0; macOS: brew install pango)"
        ) from error
    return weasyprint
