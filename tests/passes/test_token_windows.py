"""Windows of the corpus come back by id, and windows to clamp on as a slow reference has them."""

from collections import Counter

import numpy as np
import pytest

from ray_autointerp.methods.window_length import window_length
from ray_autointerp.passes.change_windows import Side, change_windows
from ray_autointerp.passes.token_windows import token_windows
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables


@pytest.fixture(scope="module")
def corpus(quick_run: Run) -> list[Row]:
    assert quick_run.axes.num_token_shards > 1, "windows of several shards are looked for"
    return Tables(quick_run).read("tokens", None).to_pylist()


def test_windows_of_several_shards_come_back_by_id(quick_run: Run, corpus: list[Row]) -> None:
    wanted = corpus[::-7]
    ids = [row["window"] for row in wanted]
    found = token_windows(Tables(quick_run), [*ids, ids[0]])
    assert found.ids_W.tolist() == sorted(ids)
    for row, place in zip(wanted, found.rows(ids).tolist(), strict=True):
        assert found.token_ids(place).tolist() == row["token_ids"]
        assert found.documents_W[place] == row["document"]
        assert found.document_ids_W[place].as_py() == row["document_id"]


def test_window_that_was_not_read_is_no_other(quick_run: Run, corpus: list[Row]) -> None:
    found = token_windows(Tables(quick_run), [corpus[0]["window"], corpus[2]["window"]])
    for absent in (corpus[1]["window"], corpus[3]["window"]):
        with pytest.raises(KeyError):
            found.rows([absent])
    assert token_windows(Tables(quick_run), []).ids_W.tolist() == []


@pytest.mark.parametrize("side", ["explain", "score"])
@pytest.mark.parametrize("number", [5, 10**6])
def test_clamped_windows_are_first_by_turn_and_hash(
    quick_run: Run, corpus: list[Row], side: Side, number: int
) -> None:
    evidence, seed = quick_run.config.evidence, quick_run.config.run.seed
    lengths = [
        Counter(len(row["token_ids"]) for row in corpus if row["split"] == name)
        for name in ("explain", "score")
    ]
    length = window_length(*lengths, evidence.change_window_tokens, evidence.change_windows)
    assert length is not None
    rows = [r for r in corpus if r["split"] == side and len(r["token_ids"]) >= length]
    hashed = sorted(rows, key=lambda row: derive_seed(seed, "change_windows", row["window"]))
    turns: Counter[int] = Counter()
    ranked = []
    for place, row in enumerate(hashed):
        ranked.append((turns[row["document"]], place, row["token_ids"][:length]))
        turns[row["document"]] += 1
    expected = [token_ids for _, _, token_ids in sorted(ranked)][:number]
    assert max(turns.values()) > 1, "some document has more than one window"
    found = change_windows(Tables(quick_run), side, number)
    assert np.array_equal(found.numpy(), expected)
