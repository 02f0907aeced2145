"""Keyword descriptions: what is said, in what order, and how odd tokens read."""

import itertools

import pytest

from ray_autointerp.methods.keywords import FiredToken, fired_words, keywords


def example(*tokens):
    return [FiredToken(text, activation) for text, activation in tokens]


def keyword_description(*args, **options):
    return str(keywords(*args, **options)) or None


WAR = [
    example((" war", 9.0), (" the", 1.0)),
    example((" battle", 6.0), (" War", 4.0)),
    example(("war", 5.0)),
]


def test_description_lists_what_fires_and_what_is_promoted():
    line = keyword_description(WAR, [" troops", " army"])
    assert line == 'fires on "war", "battle"; promotes "troops", "army"'


def test_description_dead_latent_only_promotes_and_one_with_nothing_is_null():
    assert keyword_description([], [" troops"]) == 'promotes "troops"'
    assert keyword_description([[]], []) is None
    assert keyword_description(WAR[:1], []) == 'fires on "war", "the"'


def test_description_is_the_same_for_any_order_of_examples():
    lines = {keyword_description(order, [" a"]) for order in itertools.permutations(WAR)}
    assert len(lines) == 1


def test_fired_words_count_examples_not_repetition_within_one():
    repeated = [example(*[(" echo", 2.0)] * 9), example((" wide", 2.0)), example((" wide", 2.0))]
    assert fired_words(repeated, 2) == ["wide", "echo"]


def test_fired_words_strength_counts():
    assert fired_words([example((" weak", 1.0)), example((" strong", 5.0))], 1) == ["strong"]


def test_fired_words_far_below_the_best_are_left_out():
    assert fired_words([example((" loud", 100.0), (" faint", 1.0))], 5) == ["loud"]


def test_fired_words_common_tokens_give_way_to_rare_ones_when_the_corpus_is_counted():
    examples = [example((" the", 5.0), (" treaty", 4.0))] * 3
    background = {" the": 900, " The": 50, " treaty": 3, " x": 47}
    assert fired_words(examples, 2) == ["the", "treaty"]
    assert fired_words(examples, 2, background) == ["treaty"]


def test_fired_words_token_unknown_to_the_background_is_rare():
    examples = [example((" new", 4.0), (" known", 4.5))]
    assert fired_words(examples, 1, {" known": 500, " x": 500}) == ["new"]


def test_fired_words_show_the_spelling_with_most_activation_and_ties_go_by_the_text():
    forms = [example((" Paris", 2.0)), example(("Paris", 2.0)), example((" PARIS", 3.0))]
    assert fired_words(forms, 1) == ["Paris"]
    assert fired_words([example((" b", 1.0), (" a", 1.0))], 2) == ["a", "b"]


def test_fired_words_silent_tokens_are_not_keywords():
    assert fired_words([example((" a", 0.0))], 3) == []


def test_promoted_forms_of_one_word_are_said_once_in_order_of_strength():
    line = keyword_description([], [" Army", "army", " troops", " ARMY"], num_promoted=2)
    assert line == 'promotes "Army", "troops"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n", "a newline"),
        ("\n\n", "a blank line"),
        ("\n\n\n", "3 newlines"),
        ("\t", "a tab"),
        (" ", "a space"),
        ("    ", "4 whitespace characters"),
        ("\ufffd", "part of a character"),
        ('"', '"\\""'),
        ("ization", '"ization"'),
        ("\u00e9t\u00e9", '"\u00e9t\u00e9"'),
        ("\x07", '"\\u0007"'),
    ],
)
def test_odd_tokens_read_as_words(text, said):
    assert keyword_description([example((text, 1.0))], []) == f"fires on {said}"
    assert keyword_description([], [text]) == f"promotes {said}"


def test_empty_token_texts_are_not_keywords():
    assert keyword_description([example(("", 1.0))], [""]) is None


def test_promoted_pieces_of_words_come_last_in_order_of_strength():
    promoted = ["umatic", " clocks", "etime", " pauses", "3", "時"]
    assert keyword_description([], promoted) == (
        'promotes "clocks", "pauses", "3", "時", "umatic", "etime"'
    )
    assert keyword_description([], promoted, num_promoted=2) == 'promotes "clocks", "pauses"'


def test_vocabulary_without_spaces_has_no_pieces():
    assert keyword_description([], [",", "croak", "We"]) == 'promotes ",", "croak", "We"'
    assert keyword_description([], ["croak", ","]) == 'promotes "croak", ","'
