"""Unseen tokens and the lists of a trial, against a slow reference and by their properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.unseen_tokens import latent_tokens, spelling, two_lists

TOKENS = st.builds(
    lambda space, number, upper: space + (f"W{number}" if upper else f"w{number}"),
    st.sampled_from(["", " ", "\n"]),
    st.integers(0, 120),
    st.booleans(),
)
RANKINGS = st.lists(TOKENS | st.sampled_from(["", " ", "\n\n"]), max_size=110)
SHOWN = st.lists(TOKENS, max_size=15)


def folded(tokens):
    return {token.strip().casefold() for token in tokens}


def slow_unseen(ranked, shown):
    """Place by place: no blank, nothing shown, nothing of the first 20, nothing met before."""
    found = []
    for place in range(20, len(ranked)):
        earlier = folded(shown) | folded(ranked[:place])
        if ranked[place].strip() and ranked[place].strip().casefold() not in earlier:
            found.append(ranked[place])
    return found[:40]


@given(RANKINGS, SHOWN)
def test_unseen_tokens_are_those_of_the_slow_reference(ranked, shown):
    found = latent_tokens(ranked, shown)
    assert list(found.unseen) == slow_unseen(ranked, shown)
    assert folded(shown) | folded(ranked[:20]) | folded(found.unseen) <= found.spellings


def test_unseen_tokens_of_a_plain_ranking_are_places_21_to_60_halved_by_place():
    ranked = [f"w{place}" for place in range(1, 101)]
    found = latent_tokens(ranked, [])
    assert list(found.unseen) == ranked[20:60]
    assert list(found.of_trial(False)) == ranked[20:60:2]
    assert list(found.of_trial(True)) == ranked[21:60:2]


@pytest.mark.parametrize("shown", ["time", " Time", "TIME\n"])
def test_unseen_tokens_shown_in_any_spelling_are_left_out(shown):
    ranked = [f"w{place}" for place in range(20)] + [" time", "Time", "clock", " Clock", " W3"]
    assert latent_tokens(ranked, [shown]).unseen == ("clock",)
    assert spelling(" Time\n") == "time"


@given(RANKINGS, SHOWN, RANKINGS, SHOWN, st.booleans())
def test_lists_are_equally_long_and_hold_nothing_that_the_other_latent_has(
    ranked, shown, other_ranked, other_shown, is_choosing
):
    one, other = latent_tokens(ranked, shown), latent_tokens(other_ranked, other_shown)
    own, others = two_lists(one, other, is_choosing)
    assert two_lists(other, one, is_choosing) == (others, own)
    assert len(own) == len(others)
    assert set(own) <= set(one.of_trial(is_choosing))
    assert not folded(own) & (folded(other_shown) | folded(other_ranked[:20]))
    assert not folded(own) & folded(other.unseen)
    whole = [t for t in one.of_trial(is_choosing) if spelling(t) not in other.spellings]
    assert own == whole[: len(own)], "the strongest are kept"
    assert len(own) == len(whole) or len(others) < len(whole)


@given(RANKINGS, RANKINGS, RANKINGS)
def test_choosing_and_published_trials_share_no_token_of_the_target(ranked, other, another):
    target = latent_tokens(ranked, [])
    published = two_lists(target, latent_tokens(other, []), False)
    choosing = two_lists(target, latent_tokens(another, []), True)
    assert not folded(published[0]) & (folded(choosing[0]) | folded(choosing[1]))
    assert not folded(choosing[0]) & folded(published[1])


def test_lists_of_latents_alike_are_empty():
    same = latent_tokens([f"w{place}" for place in range(100)], [])
    assert two_lists(same, same, False) == ([], [])
