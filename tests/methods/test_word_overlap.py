"""The judge that only counts shared words."""

import pytest

from ray_autointerp.methods.word_overlap import word_overlap_log_odds, words


@pytest.mark.parametrize(
    ("description", "target", "partner", "log_odds"),
    [
        ("words about war", ["War! War again."], ["peace"], 1.0),
        ("words about war", ["peace"], ["the war, in words"], -2.0),
        ("words about war", ["a war"], ["his war"], 0.0),
        ("war and army", ["war", "an army"], [""], 2.0),
        ("warfare", ["war"], ["fare"], 0.0),
        ("", ["war"], ["peace"], 0.0),
        ("Stra\u00dfe", ["STRASSE"], [], 1.0),
    ],
)
def test_log_odds_count_distinct_words_found_in_one_set_only(
    description, target, partner, log_odds
):
    assert word_overlap_log_odds(description, target, partner) == log_odds


def test_words_are_folded_runs_of_letters_and_digits():
    assert words("Don't_stop", "R2D2 -- don") == {"don", "t", "stop", "r2d2"}
