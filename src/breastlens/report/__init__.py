"""From a run directory to figures and pages that people read: see `page.write_report` and `comparison`."""
