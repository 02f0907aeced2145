"""Pages in headless chromium: nothing on the console, and every way of looking around works."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from viewer_site import SAE, served

AXE = (Path(__file__).parent / "axe-4.14.1.min.js").read_text()
LABELS = f"/runs/planted/{SAE}"
COMPARED = f"/compare?a=planted/{SAE}&b=hostile/{SAE}&show=all"
PATHS = (LABELS, f"{LABELS}/0", "/", "/runs/planted", "/nothing", COMPARED)


def rows(page: Page) -> list[str]:
    """The latents of the table."""
    found: list[str] = page.eval_on_selector_all(
        "#labels tbody tr", "rows => rows.map(row => row.dataset.latent)"
    )
    return found


def test_search_narrows_the_table_and_stands_in_the_url(page: Page, site: str) -> None:
    page.goto(site + LABELS)
    whole = rows(page)
    word = page.locator("#labels .label").first.inner_text().split('"')[1].strip()
    page.keyboard.press("/")
    page.keyboard.type(word)
    expect(page).to_have_url(re.compile(r"q="))
    expect(page.locator("#results")).to_contain_text("of 56")
    assert len(rows(page)) < len(whole)
    shared = rows(page)
    page.goto(page.url)
    assert rows(page) == shared


def test_filter_is_undone_by_the_back_button(page: Page, site: str) -> None:
    page.goto(site + LABELS)
    before = rows(page)
    page.get_by_label("an LLM").check()
    expect(page.locator("#results")).to_contain_text("6 latents")
    expect(page).to_have_url(re.compile(r"\?chosen=1$"))
    page.go_back()
    expect(page.locator("#results")).to_contain_text("56 latents")
    assert rows(page) == before
    expect(page.get_by_label("an LLM")).not_to_be_checked()


def test_brush_on_a_histogram_filters_and_a_click_clears_it(page: Page, site: str) -> None:
    page.goto(site + LABELS)
    box = page.locator("[data-min=min_keyword_f1] svg").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 5, middle, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"min_keyword_f1=0\.(5|49|50)"))
    expect(page.locator("#results")).to_contain_text("of 56")
    page.locator("[data-min=min_keyword_f1] svg").click(position={"x": 20, "y": 20})
    expect(page.locator("#results")).to_contain_text("56 latents")
    assert "min_keyword_f1" not in page.url


def test_range_can_be_typed_instead_of_brushed(page: Page, site: str) -> None:
    page.goto(site + LABELS)
    page.get_by_label("least density").fill("0.002")
    page.keyboard.press("Tab")
    expect(page).to_have_url(re.compile(r"min_density=0.002"))
    drawn = page.locator("[data-min=min_density] .selection")
    expect(drawn).not_to_have_attribute("width", "0")


def test_scatter_is_brushed_and_its_axes_are_chosen(page: Page, site: str) -> None:
    page.goto(site + LABELS)
    page.get_by_label("across").select_option("density")
    expect(page.locator(".plot[data-x=density]")).to_be_visible()
    page.get_by_label("up", exact=True).select_option("keyword_f1")
    expect(page).to_have_url(re.compile("x=density&y=keyword_f1"))
    expect(page.locator(".plot[data-x=density][data-y=keyword_f1]")).to_be_visible()
    box = page.locator(".plot").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"min_density=.*max_density=|max_keyword_f1="))
    expect(page.locator("#results")).to_contain_text("of 56")


def arrived(page: Page, pattern: str) -> None:
    """The address is the wanted one, and the page's script listens to keys."""
    expect(page).to_have_url(re.compile(pattern))
    page.wait_for_load_state("load")


def test_keyboard_walks_the_table_opens_a_latent_and_comes_back(page: Page, site: str) -> None:
    page.goto(f"{site}{LABELS}?sort=density")
    order = rows(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    arrived(page, rf"/{order[1]}\?sort=density$")
    page.keyboard.press("j")
    arrived(page, rf"/{order[2]}\?sort=density$")
    page.keyboard.press("k")
    arrived(page, rf"/{order[1]}\?sort=density$")
    page.keyboard.press("u")
    arrived(page, r"\?sort=density$")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_theme_is_switched_and_kept(page: Page, site: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(site + LABELS)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Switch between light and dark").click()
    assert page.evaluate(ground) != light
    page.goto(f"{site}{LABELS}/0")
    assert page.evaluate(ground) != light


def test_hostile_text_runs_nowhere(page: Page, site: str) -> None:
    for path in ("?sort=latent", "/0", "/1", "?q=%3Cscript%3E"):
        page.goto(f"{site}/runs/hostile/{SAE}{path}")
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img").count() == 0
    page.goto(f"{site}/runs/hostile/{SAE}/0")
    expect(page.locator("h1")).to_contain_text("<script>window.hacked")


def test_growing_run_grows_on_the_page(
    page: Page, growing_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_autointerp.viewer.label_index._LOOK_AGAIN_S", 0.0)
    with served(growing_run) as url:
        page.goto(f"{url}/runs/growing/{SAE}")
        expect(page.get_by_text("This run is growing")).to_contain_text("30 of 56")
        for path in sorted(tmp_path.glob("part-*")):
            path.rename(growing_run / "sae" / SAE / "labels" / path.name)
        expect(page.get_by_text("This run is growing")).to_contain_text("56 of 56", timeout=15_000)
        page.goto("about:blank")  # or it would ask a server that is gone


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_axe_finds_nothing_serious(browser: Browser, site: str, scheme: Any, width: int) -> None:
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    page = context.new_page()
    found = []
    for path in PATHS:
        page.goto(site + path)
        page.evaluate(AXE)
        result = page.evaluate("axe.run()")
        found += [
            (path, one["id"], one["nodes"][0]["html"][:200])
            for one in result["violations"]
            if one["impact"] in ("serious", "critical")
        ]
    context.close()
    assert found == []


def test_nothing_is_wider_than_a_phone(browser: Browser, site: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    for path in (*PATHS, f"/runs/hostile/{SAE}?sort=latent", f"/runs/hostile/{SAE}/0"):
        page.goto(site + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    context.close()
