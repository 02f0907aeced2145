"""A run as a notebook reads it: finished, growing, old, on S3, and with hostile text in it."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ray_autointerp import read_run
from ray_autointerp.errors import StoreError, UserError
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.reports.label_table import labels
from ray_autointerp.reports.latent_card import LatentCard
from ray_autointerp.reports.score_table import SCHEMA
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.store import open_store

SAE = "planted"


@pytest.fixture
def copied(quick_run: Run, tmp_path: Path) -> Path:
    """A copy of the quick run, to be changed."""
    return Path(shutil.copytree(quick_run.uri, tmp_path / "planted"))


def of(table: pa.Table, **values: object) -> pa.Table:
    for name, value in values.items():
        table = table.filter(pc.field(name) == value)
    return table


def test_labels_are_the_published_ones_with_their_sae(quick_run: Run) -> None:
    found = read_run(quick_run.uri).labels()
    assert found.column_names[0] == "sae"
    assert set(found["sae"].to_pylist()) == {SAE}
    assert found.drop_columns(["sae"]).equals(labels(quick_run, SAE))
    assert found.equals(read_run(quick_run.uri).labels(SAE))
    assert found.to_pandas()["label"].notna().sum() == found.num_rows - found["label"].null_count


def test_scores_are_those_of_the_tables_with_their_intervals(quick_run: Run) -> None:
    found = read_run(quick_run.uri).scores()
    assert found.schema == SCHEMA
    tables = Tables(quick_run)
    wins = of(found, method="ensemble_raw", score="output_win_rate")
    made = {
        row["latent"]: row for row in tables.read("output_scores", SAE, "ensemble_raw").to_pylist()
    }
    assert set(wins["latent"].to_pylist()) == set(made)
    for row in wins.to_pylist():
        one = made[row["latent"]]
        names = ("status", "win_rate", "win_rate_low", "win_rate_high")
        assert [row[name] for name in ("status", "value", "low", "high")] == [
            one[name] for name in names
        ]
        assert row["chance"] == 0.5
    inputs = of(found, score="input_auroc", status="ok").to_pylist()
    assert inputs
    for row in inputs:
        assert row["low"] <= row["value"] <= row["high"]
    f1 = of(found, score="keyword_f1")
    known = tables.read("keyword_scores", SAE)
    assert f1["latent"].to_pylist() == known["latent"].to_pylist()
    assert f1["floor"].to_pylist() == known["f1_shuffled"].to_pylist()
    assert set(of(found, score="output_three_set")["method"].to_pylist()) == {"ensemble_raw"}


def test_floor_is_what_anothers_description_gets_there(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["config"]["select"]["controls"] = 4
    (copied / "manifest.json").write_text(json.dumps(manifest))
    (part, *_) = sorted((copied / "sae" / SAE / "output_scores" / "ensemble_raw").iterdir())
    rows = pq.read_table(part).slice(0, 2)
    rates = pa.array([0.25, 0.125], pa.float32())
    at = rows.schema.get_field_index("win_rate")
    folder = copied / "sae" / SAE / "output_scores" / "ensemble_raw.shuffled"
    folder.mkdir()
    pq.write_table(rows.set_column(at, rows.schema.field(at), rates), folder / part.name)
    found = of(read_run(copied).scores(), method="ensemble_raw", score="output_win_rate")
    floors = dict(zip(found["latent"].to_pylist(), found["floor"].to_pylist(), strict=True))
    expected = dict(zip(rows["latent"].to_pylist(), [0.25, 0.125], strict=True))
    assert floors == dict.fromkeys(floors) | expected
    assert not any("shuffled" in name for name in read_run(copied).scores()["method"].to_pylist())


def test_search_finds_every_word_in_label_or_tokens(quick_run: Run) -> None:
    run = read_run(quick_run.uri)
    row = next(row for row in run.labels().to_pylist() if row["fires_on"] and row["promotes"])
    words = f"{row['promotes'][0].strip().upper()} {row['fires_on'][0].strip()}"
    assert row["latent"] in run.search(words)["latent"].to_pylist()
    assert run.search(f"{words} no-such-word").num_rows == 0
    assert run.search(".*").num_rows == 0, "a text, no regular expression"


def test_search_by_meaning_ranks_every_label_by_its_cosine(quick_run: Run) -> None:
    """Vectors of one-letter counts: what is nearest can be reckoned by hand."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.count(letter) for letter in "aeinrt"] for text in texts], "f4")
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    run = read_run(quick_run.uri)
    rows = {row["latent"]: row for row in run.labels().to_pylist() if row["label"]}
    found = run.search("rain in the air", embed=embed)
    assert set(found["latent"].to_pylist()) == set(rows)
    similarity = found["similarity"].to_pylist()
    assert similarity == sorted(similarity, reverse=True)
    asked = embed(["rain in the air"])[0]
    for row in found.slice(0, 5).to_pylist():
        assert row["similarity"] == pytest.approx(float(embed([row["label"]])[0] @ asked), abs=1e-5)


def test_examples_are_those_of_the_table(quick_run: Run) -> None:
    found = read_run(quick_run.uri).examples(1)
    rows = Tables(quick_run).rows("top_examples", SAE, [1])[1]
    assert of(found, kind="top").num_rows == sum(len(row["examples"] or ()) for row in rows) > 0
    (first, *_) = of(found, kind="top", split="explain").to_pylist()
    assert first["text"] == "".join(first["tokens"])
    assert first["activations"][first["peak"]] == first["activation"]


def test_latent_and_sae_that_are_not_there_are_refused(quick_run: Run, tmp_path: Path) -> None:
    run = read_run(quick_run.uri)
    with pytest.raises(UserError, match="Latent 9999 is not among"):
        run.latent(9999)
    with pytest.raises(UserError, match="no SAE `other`; the run has planted"):
        run.labels("other")
    with pytest.raises(StoreError, match="no run at"):
        read_run(tmp_path)
    two = replace(quick_run, axes=replace(quick_run.axes, latents={SAE: range(2), "b": range(2)}))
    with pytest.raises(UserError, match="Name an SAE with `sae=`; the run has planted, b"):
        type(run)(two).latent(1)


def test_run_that_has_hardly_begun_shows_what_it_has(copied: Path) -> None:
    whole = read_run(copied).labels()
    parts = sorted((copied / "sae" / SAE / "labels").iterdir())
    (copied / "sae" / SAE / "labels.parquet").unlink()
    parts[-1].unlink()
    assert 0 < read_run(copied).labels().num_rows < whole.num_rows
    for folder in (copied / "sae" / SAE).iterdir():
        if folder.name != "latent_stats":
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    run = read_run(copied)
    assert (run.labels().num_rows, run.scores().num_rows, run.examples(1).num_rows) == (0, 0, 0)
    assert run.labels().column_names == ["sae", *TABLES["labels"].schema.names]
    card = run.latent(1)
    for shown in (repr(card), card._repr_html_()):
        assert "fires on" in shown and "This run has no" in shown and "top_examples" in shown
    shutil.rmtree(copied / "sae")
    assert "latent_stats" in repr(read_run(copied).latent(1))


def test_run_on_s3_reads_as_the_folder_does(quick_run: Run, bucket: str) -> None:
    store, folder = open_store(f"s3://{bucket}/runs/planted"), open_store(quick_run.uri)
    for name in folder.list(""):
        store.put_if_absent(name, folder.get(name))
    there, here = read_run(store.uri), read_run(quick_run.uri)
    assert there.labels().equals(here.labels())
    assert there.scores().equals(here.scores())
    assert repr(there.latent(1)) == repr(here.latent(1))


class _Tags(HTMLParser):
    """Every tag and attribute of a page, and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_says_what_the_card_says(quick_run: Run) -> None:
    run = read_run(quick_run.uri)
    (row, *_) = of(run.labels(), chosen=True).to_pylist()
    card = run.latent(row["latent"])
    page = _Tags(card._repr_html_())
    assert page.open == []
    assert page.tags <= {"div", "span", "b", "bdi", "br"}
    assert page.attributes <= {"style", "title", "dir"}
    for words in (row["label"].splitlines()[0], row["method"], "input AUROC", "JacobianProj"):
        assert words in page.text
    for description in card.descriptions:
        assert description.method in page.text
    marked = re.findall(r"rgba\(245,158,11,([\d.]+)\)", card._repr_html_())
    assert max(map(float, marked)) == 0.7, "the strongest token is the darkest"
    assert "<script" not in card._repr_html_() and "http" not in card._repr_html_()


HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&amp;"


def test_hostile_text_is_text(quick_run: Run) -> None:
    card = read_run(quick_run.uri).latent(1)
    example = {**card.examples[0], "texts": [HOSTILE] * len(card.examples[0]["texts"])}
    label = dict.fromkeys(TABLES["labels"].schema.names) | {"label": HOSTILE, "method": HOSTILE}
    lists = [
        (
            "VocabProj",
            [
                {
                    "status": "ok",
                    "promoted": [{"text": HOSTILE, "logit": 1.0, "z": None}],
                    "suppressed": None,
                }
            ],
        )
    ]
    rows = vars(card) | {"label": label, "examples": [example], "lists": lists}
    page = LatentCard(**rows)._repr_html_()
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert "<script>alert(1)</script>" in _Tags(page).text
    assert "&amp;" in _Tags(page).text, "escaped once"
