"""Planted runs as the viewer shows them, and a real browser: chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from viewer_site import (
    CHROMIUM,
    FORMULA,
    HOSTILE,
    NO_CHROMIUM,
    RIGHT_TO_LEFT,
    SAE,
    rewritten,
    served,
)

from ray_autointerp.runs.run import Run


@pytest.fixture(scope="session")
def hostile_run(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which texts of latents 0 to 2 are hostile."""
    copy = tmp_path_factory.mktemp("hostile") / "hostile"
    shutil.copytree(quick_run.uri, copy)
    texts = {0: HOSTILE, 1: FORMULA, 2: RIGHT_TO_LEFT}

    def label(row: dict[str, Any]) -> None:
        if row["latent"] in texts:
            row["label"] = texts[row["latent"]]

    def examples(row: dict[str, Any]) -> None:
        if row["latent"] in texts and row["examples"]:
            row["examples"][0]["texts"][0] = texts[row["latent"]]

    folder = copy / "sae" / SAE
    for path in (folder / "labels.parquet", *(folder / "labels").glob("*.parquet")):
        rewritten(path, label)
    for path in (folder / "top_examples").glob("*.parquet"):
        rewritten(path, examples)
    return copy


@pytest.fixture
def growing_run(quick_run: Run, tmp_path: Path) -> Path:
    """A copy as it was before its second part of labels, and before some scores."""
    copy = tmp_path / "growing"
    shutil.copytree(quick_run.uri, copy)
    folder = copy / "sae" / SAE
    (folder / "labels.parquet").unlink()
    for path in sorted((folder / "labels").glob("*.parquet"))[1:]:
        path.rename(tmp_path / path.name)
    for table in ("unseen_scores", "unseen_judgements", "completions", "choices"):
        shutil.rmtree(folder / table)
    return copy


@pytest.fixture(scope="session")
def site(quick_run: Run, hostile_run: Path) -> Iterator[str]:
    """A server over two runs: a plain and a hostile one."""
    with served(quick_run.uri, hostile_run) as url:
        yield url


@pytest.fixture(scope="module")
def browser(site: str) -> Iterator[Browser]:
    """Started after the runs are made, and for one file: Playwright keeps this thread's event loop
    busy, in which nothing else can run one.
    """
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must not complain: neither by an error nor on the console."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(10_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type != "log" else None)
    yield page
    context.close()
    assert complaints == []
