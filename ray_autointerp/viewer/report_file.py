"""The report of a run as one HTML file: styles and plots are in it, and it has no script."""

from ray_autointerp.viewer.templating import FOLDER, text
from ray_autointerp.viewer.viewed_run import ViewedRun


def report_file(uri: str) -> str:
    """The file's text. Raises StoreError where there is no run at the URI."""
    run = ViewedRun(uri, "run")
    styles = (FOLDER / "static" / "viewer.css").read_text()
    return text("report_file.html", run=run, report=run.report(), styles=styles, linked=False)
