"""Texts made of a list of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.revival import NUM_PAIRED, RUN_LENGTHS, attempts

TOKENS = st.lists(st.integers(0, 999), max_size=60, unique=True)
KINDS = ("token", "pair", "run")


@given(tokens=TOKENS)
def test_every_token_every_pair_of_the_first_and_every_run_is_tried_once(tokens: list[int]) -> None:
    made = attempts(tokens)
    by_kind = {kind: [one.token_ids for one in made if one.kind == kind] for kind in KINDS}
    assert by_kind["token"] == [(token,) for token in tokens]
    first = tokens[:NUM_PAIRED]
    assert sorted(by_kind["pair"]) == sorted((a, b) for a in first for b in first if a != b)
    assert [len(run) for run in by_kind["run"]] == [k for k in RUN_LENGTHS if k <= len(tokens)]
    assert all(list(run) == tokens[: len(run)] for run in by_kind["run"])
    assert len({one.token_ids for one in made}) == len(made) == sum(map(len, by_kind.values()))


@given(tokens=TOKENS)
def test_shorter_texts_come_first(tokens: list[int]) -> None:
    lengths = [len(one.token_ids) for one in attempts(tokens)]
    assert lengths == sorted(lengths)
