"""The report as one file: whole by itself, in any browser, without a server."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from viewer_site import HOSTILE, SAE

from ray_autointerp.reports.label_table import labels
from ray_autointerp.runs.run import Run
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.report_file import report_file
from ray_autointerp.viewer.sample_labels import sample_labels
from ray_autointerp.viewer.viewed_run import ViewedRun

AXE = (Path(__file__).parent / "axe-4.14.1.min.js").read_text()


def test_file_asks_for_nothing_and_runs_nothing(quick_run: Run) -> None:
    written = report_file(quick_run.uri)
    assert re.findall(r"<(?:script|link|img|iframe)\b", written) == []
    assert re.findall(r"""\b(?:src|href|action|srcset)=""", written) == []
    assert re.findall(r"url\(|@import|\son\w+=", written) == []


def test_file_has_the_plots_and_the_labels_that_were_scored(quick_run: Run) -> None:
    written = report_file(quick_run.uri)
    assert written.count('class="plot"') >= 2
    assert "Histogram of" in written
    rows = {row["latent"]: row for row in labels(quick_run, SAE).to_pylist()}
    shown = [
        one.row["latent"] for sample in sample_labels(_index(quick_run)) for one in sample.labels
    ]
    assert sorted(shown) == sorted(i for i, row in rows.items() if row["chosen"] and row["label"])
    for latent in shown:
        first_words = html.escape(rows[latent]["label"].partition('"')[0].strip())
        assert first_words in written


def test_sample_has_the_best_the_worst_and_none_twice(quick_run: Run) -> None:
    best, worst, *_ = (
        [(one.row["num_shown"], one.row["support"]) for one in sample.labels]
        for sample in sample_labels(_index(quick_run))
    )
    assert best == sorted(best, reverse=True)
    assert worst == sorted(worst)
    assert worst[-1] <= best[-1]


def test_growing_run_and_hostile_text_make_a_file(growing_run: Path, hostile_run: Path) -> None:
    assert "tasks are done" in report_file(str(growing_run))
    written = report_file(str(hostile_run))
    assert HOSTILE not in written
    assert "<script" not in written


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_browser_opens_the_file(
    browser: Browser, quick_run: Run, tmp_path: Path, scheme: Any, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report_file(quick_run.uri))
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("request", lambda asked: complaints.append(asked.url))
    page.goto(path.as_uri())
    assert complaints == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE)
    found = [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in page.evaluate("axe.run()")["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    context.close()
    assert found == []


def _index(run: Run) -> LabelIndex:
    return ViewedRun(run.uri, "run").index(SAE)
