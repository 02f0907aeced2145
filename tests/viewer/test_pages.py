"""Pages without a browser: what they hold, what they refuse, what is downloaded."""

import csv
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient
from viewer_site import FORMULA, HOSTILE, SAE, client

from ray_autointerp.passes.typed_text import TypedText
from ray_autointerp.reports.bill_table import bill
from ray_autointerp.reports.compare import lines
from ray_autointerp.reports.label_table import labels
from ray_autointerp.reports.run_scores import MAIN, run_scores
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.store import open_store
from ray_autointerp.viewer.app import viewer_app
from ray_autointerp.viewer.compare_page import comparison
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.latent_page import LatentPage
from ray_autointerp.viewer.measures import SCORES
from ray_autointerp.viewer.viewed_run import viewed_runs

LABELS = f"/runs/planted/{SAE}"


@pytest.fixture(scope="module")
def asks(quick_run: Run) -> TestClient:
    return client(quick_run.uri)


def latents_in(html: str) -> list[int]:
    return [int(found) for found in re.findall(r'<tr data-latent="(\d+)"', html)]


def test_one_sae_is_opened_at_once_and_several_are_listed(quick_run: Run, asks: TestClient) -> None:
    opened = asks.get("/", follow_redirects=False)
    assert opened.headers["location"] == LABELS
    listed = client(quick_run.uri, quick_run.uri).get("/").text
    assert f'href="{LABELS}"' in listed
    assert f'href="/runs/planted-2/{SAE}"' in listed


def test_every_answer_forbids_what_is_not_of_this_server(asks: TestClient) -> None:
    for path in (LABELS, "/nothing", "/static/viewer.js", f"{LABELS}/labels.csv"):
        policy = asks.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_pages_name_no_other_server_and_hold_no_inline_code(asks: TestClient) -> None:
    for path in (LABELS, f"{LABELS}/0", "/runs/planted"):
        html = asks.get(path).text
        assert re.findall(r'(?:src|href|action)="(?!/|#|\?)([^"]*)"', html) == []
        assert re.findall(r"<[^>]* (?:on\w+|style)=", html) == []
        assert re.findall(r"<script(?! src=)", html) == []


def test_only_names_of_this_machine_are_answered(quick_run: Run) -> None:
    """A page elsewhere must not reach the server by a name that it turns to loopback."""
    app = viewer_app(viewed_runs([quick_run.uri]), ["127.0.0.1"])
    assert TestClient(app, base_url="http://127.0.0.1").get("/runs/planted").status_code == 200
    assert TestClient(app, base_url="http://evil.example").get("/runs/planted").status_code == 400


def test_labels_are_those_of_the_run(quick_run: Run, asks: TestClient) -> None:
    html = asks.get(f"{LABELS}?sort=latent").text
    assert latents_in(html) == labels(quick_run, SAE)["latent"].to_pylist()[:50]
    later = asks.get(f"{LABELS}?sort=latent&page=2").text
    assert latents_in(later) == labels(quick_run, SAE)["latent"].to_pylist()[50:100]


def test_search_wants_every_word_in_label_or_tokens(quick_run: Run, asks: TestClient) -> None:
    rows = labels(quick_run, SAE).to_pylist()
    word = rows[0]["fires_on"][0].strip()
    found = latents_in(asks.get(LABELS, params={"q": word.upper()}).text)
    columns = ("fires_on", "promotes", "suppresses")
    wanted = {
        row["latent"]
        for row in rows
        if any(
            word.lower() in text.lower()
            for text in [row["label"] or "", row["name"] or "", *sum((row[c] for c in columns), [])]
        )
    }
    assert 0 < len(found) < len(rows)
    assert set(found) == wanted
    assert latents_in(asks.get(LABELS, params={"q": f"{word} no-such-word"}).text) == []


def test_filters_and_order_are_the_urls(quick_run: Run, asks: TestClient) -> None:
    table = labels(quick_run, SAE).to_pandas()
    scored = table[table.input_auroc >= 0.5].sort_values(
        ["input_auroc", "latent"], ascending=[False, True]
    )
    asked = {"min_input_auroc": "0.5", "sort": "input_auroc"}
    assert latents_in(asks.get(LABELS, params=asked).text) == scored.latent.tolist()
    asked = {"method": "keywords", "sort": "density", "reverse": "1"}
    found = latents_in(asks.get(LABELS, params=asked).text)
    own = table[table.method == "keywords"].sort_values(["density", "latent"])
    assert found == own.latent.tolist()[:50]
    chosen = latents_in(asks.get(LABELS, params={"chosen": "1"}).text)
    assert sorted(chosen) == sorted(Tables(quick_run).selection(SAE))


def test_what_is_shown_on_is_where_an_interval_lies_above_chance(
    quick_run: Run, asks: TestClient
) -> None:
    table = labels(quick_run, SAE).to_pandas()
    outputs = table[(table.output_win_rate_low > 0.5) | (table.unseen_win_rate_low > 0.5)].latent
    found = latents_in(asks.get(f"{LABELS}?shown_on=outputs&shown_on=inputs+and+outputs").text)
    assert sorted(found) == sorted(outputs)


def test_downloads_are_what_is_asked_for(quick_run: Run, asks: TestClient) -> None:
    table = labels(quick_run, SAE)
    read = pq.read_table(io.BytesIO(asks.get(f"{LABELS}/labels.parquet?sort=latent").content))
    assert read.schema.equals(table.schema)
    assert read.to_pylist() == table.to_pylist()
    said = asks.get(f"{LABELS}/labels.csv?chosen=1&sort=latent").text
    rows = list(csv.DictReader(io.StringIO(said)))
    assert [int(row["latent"]) for row in rows] == sorted(Tables(quick_run).selection(SAE))


def test_hostile_text_is_text(hostile_run: Path) -> None:
    asked = client(hostile_run)
    folder = f"/runs/hostile/{SAE}"
    for path in (f"{folder}?sort=latent", f"{folder}/0"):
        html = asked.get(path).text
        assert "<script>window" not in html
        assert "<img" not in html
        assert "&lt;script&gt;window.hacked" in html
        assert "\x1b" not in html
    rows = csv.DictReader(io.StringIO(asked.get(f"{folder}/labels.csv?sort=latent").text))
    found = [row["label"] for row in rows][:2]
    assert found == [HOSTILE, f"'{FORMULA}"]


def test_text_that_turns_other_text_around_is_spelt_out(hostile_run: Path) -> None:
    html = client(hostile_run).get(f"/runs/hostile/{SAE}/2").text
    assert "\u202e" not in html
    assert "שלום" in html
    assert 'title="U+202E"' in html


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/runs/other", 404, "No run `other`"),
        ("/runs/planted/other", 404, "has no SAE other"),
        (f"{LABELS}/100000", 400, "is not among"),
        (f"{LABELS}?sort=label;drop", 400, "Cannot sort by"),
        (f"{LABELS}?min_density=much", 400, "takes a number"),
        (f"{LABELS}?min_density=nan", 400, "takes a number"),
        (f"{LABELS}?page=-1", 400, "from 1"),
        (f"{LABELS}?x=label", 400, "is one of"),
        (f"{LABELS}?shown_on=all", 400, "is one of"),
        ("/elsewhere", 404, "Not Found"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    asks: TestClient, path: str, status: int, said: str
) -> None:
    answer = asks.get(path)
    assert answer.status_code == status
    assert said in answer.text.replace("&#39;", "'")


def test_growing_run_shows_what_it_has_and_then_what_it_has_more(
    growing_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_autointerp.viewer.label_index._LOOK_AGAIN_S", 0.0)
    asked, folder = client(growing_run), f"/runs/growing/{SAE}"
    html = asked.get(f"{folder}?sort=latent").text
    assert "This run is growing: 30 of 56 latents" in html
    assert latents_in(html) == list(range(50))
    unlabelled = asked.get(f"{folder}/40")
    assert unlabelled.status_code == 200
    assert "Fires on" in unlabelled.text
    for path in sorted(tmp_path.glob("part-*")):
        path.rename(growing_run / "sae" / SAE / "labels" / path.name)
    assert "56 of 56 latents" in asked.get(folder).text


def test_what_a_run_lacks_is_left_out_in_one_sentence(growing_run: Path) -> None:
    latent = next(iter(Tables(client_run(growing_run)).selection(SAE)))
    html = client(growing_run).get(f"/runs/growing/{SAE}/{latent}").text
    assert "Steered text" not in html
    assert "This run has no" in html
    assert "completions" in html


def client_run(uri: Path) -> Run:
    from ray_autointerp.runs.manifest import load_run

    return load_run(str(uri))


def test_latents_page_holds_every_description_with_its_scores(
    quick_run: Run, asks: TestClient
) -> None:
    tables = Tables(quick_run)
    latent = next(iter(tables.selection(SAE)))
    html = asks.get(f"{LABELS}/{latent}").text
    for method in quick_run.config.describe.methods:
        row = tables.row("descriptions", SAE, [latent], method)[latent]
        assert method.replace("_", " ") in html
        if row["status"] == "ok":
            assert row["description"].split()[0].replace('"', "") in html
    score = tables.row("input_scores", SAE, [latent], "ensemble_raw")[latent]
    assert f"{score['auroc']:.2f}" in html
    for heading in ("Fires on", "Does", "Descriptions", "Steered text", "Nearest latents"):
        assert heading in html


def test_judged_texts_are_listed_with_their_odds_and_what_is_kept_of_them(quick_run: Run) -> None:
    tables = Tables(quick_run)
    latent = next(iter(tables.selection(SAE)))
    page = LatentPage(tables, SAE, latent)
    for table in ("detections", "fuzzings"):
        rows = tables.rows(table, SAE, [latent], "keywords")[latent]
        shown = page.judged_texts(table, "keywords")
        odds = [one.row["log_odds"] for one in shown]
        assert sorted(odds) == sorted(row["log_odds"] for row in rows)
        assert odds == sorted(odds, reverse=True)
        kept = [one for one in shown if one.excerpt]
        assert kept and all(one.row["strength"] > 0 for one in kept)
        assert all(one.excerpt.activation > 0 for one in kept if one.excerpt)
    html = client(quick_run.uri).get(f"{LABELS}/{latent}?trials=keywords").text
    assert "On held-out texts" in html and "On marked held-out texts" in html


def test_run_on_s3_is_shown(quick_run: Run, bucket: str) -> None:
    uri = f"s3://{bucket}/runs/planted"
    store, folder = open_store(uri), open_store(quick_run.uri)
    for name in folder.list(""):
        store.put_if_absent(name, folder.get(name))
    asked = client(uri)
    assert latents_in(asked.get(LABELS).text) == latents_in(client(quick_run.uri).get(LABELS).text)
    for path in (f"{LABELS}/0", "/runs/planted"):
        assert asked.get(path).status_code == 200


def test_report_has_every_part(quick_run: Run, asks: TestClient) -> None:
    html = asks.get("/runs/planted").text
    for part in (
        *("Coverage", "Asked for and made", "What it took", "Seconds by step"),
        *("Agreement with exact TokenChange", "Overlap of the split"),
    ):
        assert part in html
    scores = run_scores(quick_run, SAE)
    for line in lines(scores):
        if line.measure in MAIN and line.method in scores.run.config.score.methods:
            assert line.method.replace("_", " ") in html
            assert f"{line.mean.mean:.2f}" in html
    assert f"{bill(quick_run).total.usage.num_requests:,} requests" in html
    assert "output win rate" in html


def test_report_of_a_growing_run_has_what_is_there(growing_run: Path) -> None:
    html = client(growing_run).get("/runs/growing").text
    assert "tasks are done" in html
    assert "No scores to compare yet" in html
    assert "Seconds by step" in html


def test_comparison_lists_what_differs(quick_run: Run, hostile_run: Path) -> None:
    asked = client(quick_run.uri, hostile_run)
    url = f"/compare?a=planted/{SAE}&b=hostile/{SAE}"
    html = asked.get(url).text
    changed = set(Tables(quick_run).selection(SAE)) & {0, 1, 2}
    assert f"<strong>{len(changed)}</strong> have another label" in html
    whole = asked.get(f"{url}&show=all").text
    assert "paired by number" in whole
    assert "&lt;script&gt;window" in whole
    assert "+0.000" in whole, "the same scores"
    assert asked.get(f"/compare?a=planted/{SAE}&b=other").status_code == 400
    assert asked.get(f"{url}&show=some").status_code == 400


def test_matched_latents_are_compared_with_their_earlier_selves() -> None:
    """Births, deaths and pairs are those of the run's matches, whichever side it is on."""
    old, new = FakeIndex("old", {0: "a", 1: "b", 2: "c"}), FakeIndex("new", {0: "c", 1: "x"})
    new.matches(old, {0: 2})
    made = comparison(cast(LabelIndex, old), cast(LabelIndex, new), "all")
    assert [(pair.first["label"], pair.second["label"]) for pair in made.pairs] == [("c", "c")]
    assert (made.num_pairs, made.num_born, made.num_lost) == (1, 1, 2)
    back = comparison(cast(LabelIndex, new), cast(LabelIndex, old), "all")
    assert (back.num_pairs, back.num_born, back.num_lost) == (1, 2, 1)


class FakeIndex:
    """The labels of an SAE, and what its run matched."""

    sae = SAE

    def __init__(self, folder: str, labels_of: dict[int, str]) -> None:
        self._labels = labels_of
        config = SimpleNamespace(
            is_matched=False, run=SimpleNamespace(parent=None), earlier_id=lambda sae: sae
        )
        self.tables = SimpleNamespace(run=SimpleNamespace(folder=folder, config=config))

    def matches(self, earlier: "FakeIndex", pairs: dict[int, int]) -> None:
        self.tables.run.config.is_matched = True
        self.tables.run.config.run.parent = earlier.tables.run.folder
        rows = [
            {"latent": latent, "earlier_latent": pairs.get(latent), "cosine": 0.9}
            for latent in self._labels
        ]
        self.tables.read = lambda *_, **__: pa.Table.from_pylist(rows)

    def rows(self, _: str) -> list[dict[str, Any]]:
        empty = dict.fromkeys(score.name for score in SCORES)
        return [
            {"latent": latent, "label": label, "method": "m", "chosen": True, **empty}
            for latent, label in self._labels.items()
        ]


def test_typed_text_is_shaded_by_what_the_run_measured(quick_run: Run, asks: TestClient) -> None:
    """An example of the corpus, typed again, fires the latent as it did there."""
    tables = Tables(quick_run)
    latent = next(iter(tables.selection(SAE)))
    example = tables.rows("top_examples", SAE, [latent])[latent][0]["examples"][0]
    app = viewer_app(viewed_runs([quick_run.uri]), activations=TypedText())
    asked = TestClient(app)
    assert "Try a text" in asked.get(f"{LABELS}/{latent}").text
    text = " ".join(token.strip() for token in example["texts"])
    html = asked.get(f"{LABELS}/{latent}/try", params={"text": text}).text
    shaded = re.findall(r'<mark class="a\d" title="([\d.]+)"', html)
    assert shaded, html
    wanted = [value for value in example["activations"] if value > 0]
    assert max(map(float, shaded)) == pytest.approx(max(wanted), rel=0.02)
    assert asks.get(f"{LABELS}/{latent}/try", params={"text": text}).status_code == 404
    assert "Try a text" not in asks.get(f"{LABELS}/{latent}").text


def test_history_and_cost_of_a_latent(quick_run: Run, asks: TestClient) -> None:
    latent = next(iter(Tables(quick_run).selection(SAE)))
    row = labels(quick_run, SAE).to_pylist()[latent]
    history = asks.get(f"{LABELS}/{latent}/history").text
    assert row["label"].split()[0] in history
    made = bill(quick_run)
    asked = f"{made.total.usage.num_requests / made.num_latents:,.0f} requests"
    assert asked in asks.get(f"{LABELS}/{latent}/cost").text
