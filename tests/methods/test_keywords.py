"""Keyword descriptions: what is said, in what order, and how odd tokens read."""

import itertools

import pytest

from ray_autointerp.methods.keywords import (
    FiredToken,
    fired_token,
    fired_words,
    keywords,
    promoted_words,
    spelling,
    whole_word,
)
from ray_autointerp.records.split_characters import CONTINUED as MARK


def example(*tokens):
    return [FiredToken(text, activation) for text, activation in tokens]


def line(examples, promoted):
    return str(keywords(fired_words(examples), promoted_words(promoted))) or None


WAR = [
    example((" war", 9.0), (" the", 1.0)),
    example((" battle", 6.0), (" War", 4.0)),
    example(("war", 5.0)),
]


def tokens(*args):
    return [word.token for word in fired_words(*args)]


def test_description_lists_what_fires_and_what_is_promoted():
    said = line(WAR, [" troops", " army"])
    assert said == 'fires on "war", "battle"; promotes "troops", "army"'


def test_description_dead_latent_only_promotes_and_one_with_nothing_is_null():
    assert line([], [" troops"]) == 'promotes "troops"'
    assert line([[]], []) is None
    assert line(WAR[:1], []) == 'fires on "war", "the"'


def test_description_is_the_same_for_any_order_of_examples():
    lines = {line(order, [" a"]) for order in itertools.permutations(WAR)}
    assert len(lines) == 1


def test_fired_words_count_examples_not_repetition_within_one():
    repeated = [example(*[(" echo", 2.0)] * 9), example((" wide", 2.0)), example((" wide", 2.0))]
    assert tokens(repeated, 2) == ["wide", "echo"]


def test_fired_words_strength_counts():
    assert tokens([example((" weak", 1.0)), example((" strong", 5.0))], 1) == ["strong"]


def test_fired_words_far_below_the_best_are_left_out():
    assert tokens([example((" loud", 100.0), (" faint", 1.0))], 5) == ["loud"]


def test_fired_words_common_tokens_give_way_to_rare_ones_when_the_corpus_is_counted():
    examples = [example((" the", 5.0), (" treaty", 4.0))] * 3
    background = {" the": 900, " The": 50, " treaty": 3, " x": 47}
    assert tokens(examples, 2) == ["the", "treaty"]
    assert tokens(examples, 2, background) == ["treaty"]


def test_fired_words_token_unknown_to_the_background_is_rare():
    examples = [example((" new", 4.0), (" known", 4.5))]
    assert tokens(examples, 1, {" known": 500, " x": 500}) == ["new"]


def test_fired_words_show_the_spelling_with_most_activation_and_ties_go_by_the_text():
    forms = [example((" Paris", 2.0)), example(("Paris", 2.0)), example((" PARIS", 3.0))]
    assert tokens(forms, 1) == ["Paris"]
    assert tokens([example((" b", 1.0), (" a", 1.0))], 2) == ["a", "b"]


def test_fired_words_silent_tokens_are_not_keywords():
    assert tokens([example((" a", 0.0))], 3) == []


def test_promoted_forms_of_one_word_are_said_once_in_order_of_strength():
    assert promoted_words([" Army", "army", " troops", " ARMY"], 2) == ["Army", "troops"]


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
        (" <0xF0><0x9F><0x98>", 'part of a character from "\U0001f600" to "\U0001f63f"'),
        ("<0xE4><0xB8>", 'part of a character from "\u4e00" to "\u4e3f"'),
        ("<0xD8>", 'part of a character from "\u0620" to "\u063f"'),
        (" <0xF0><0x9F>", "part of a character (bytes F0 9F)"),
        ("<0x98><0x80>", "part of a character (bytes 98 80)"),
        ("<0xE4>", "part of a character (byte E4)"),
        ('"', '"\\""'),
        ("ization", '"ization"'),
        ("\u00e9t\u00e9", '"\u00e9t\u00e9"'),
        ("\x07", '"\\u0007"'),
    ],
)
def test_odd_tokens_read_as_words(text, said):
    assert line([example((text, 1.0))], []) == f"fires on {said}"
    assert line([], [text]) == f"promotes {said}"


def test_empty_token_texts_are_not_keywords():
    assert line([example(("", 1.0))], [""]) is None


def test_promoted_pieces_of_words_come_last_in_order_of_strength():
    promoted = ["umatic", " clocks", "etime", " pauses", "3", "時"]
    assert line([], promoted) == ('promotes "clocks", "pauses", "3", "時", "umatic", "etime"')
    assert promoted_words(promoted, 2) == ["clocks", "pauses"]


def test_vocabulary_without_spaces_has_no_pieces():
    assert line([], [",", "croak", "We"]) == 'promotes ",", "croak", "We"'
    assert line([], ["croak", ","]) == 'promotes "croak", ","'


def test_spelling_ignores_case_and_outer_spaces_and_keeps_whitespace_tokens_apart():
    assert spelling(" War") == spelling("war") == "war"
    assert len({spelling(text) for text in (" ", "\n", "\n\n", "")}) == 4


def test_words_quoted_have_the_spelling_of_the_tokens_they_stand_for():
    texts = [" Army", "\n", " ", "STRASSE", "stra\u00dfe", " \ufffd"]
    words = tokens([example((text, 1.0)) for text in texts])
    assert {spelling(word) for word in words} == {spelling(text) for text in texts}


def test_piece_of_a_word_is_the_letters_that_meet_around_it():
    texts = [" the", " int", "ellig", "ent", ",", " 19", "0", "th", "\n", "don", "'", "t"]
    words = [whole_word(texts, place) for place in range(len(texts))]
    assert words == ["", *["intelligent"] * 3, *[""] * 8]
    assert whole_word(["a" * 20, "b" * 20], 0) == "", "no word: a text without spaces"


def in_word(text, activation, word):
    return [FiredToken(text, activation, word)]


def test_piece_is_shown_as_the_word_that_has_most_of_its_activation():
    examples = [
        in_word("ellig", 3.0, "intelligent"),
        in_word("ellig", 1.0, "belligerent"),
        in_word("er", 2.0, "harder"),
        in_word("er", 2.0, "softer"),
        in_word(" time", 2.0, ""),
        in_word(" time", 1.0, "timetable"),
        in_word("b", 2.0, "Stubb"),
    ]
    found = {word.token: word.text for word in fired_words(examples)}
    assert found == {"ellig": "intelligent", "er": "er", "time": "time", "b": "b"}


def test_word_of_two_pieces_is_quoted_once():
    examples = [in_word("arbit", 2.0, "arbitration"), in_word("ration", 1.0, "arbitration")]
    assert keywords(fired_words(examples), []).fires_on == '"arbitration"'


def test_pieces_of_a_character_are_keywords_of_their_own_and_read_as_the_character():
    texts = ["a", " \u4e2d", MARK, MARK, f"{MARK}\u6587", MARK]
    fired = [fired_token(texts, place, 1.0) for place in range(1, 6)]
    assert [one.text for one in fired] == [
        " \u4e2d",
        f"\u4e2d{MARK}",
        f"\u4e2d{MARK}{MARK}",
        f"\u4e2d{MARK}{MARK}{MARK}\u6587",
        f"\u6587{MARK}",
    ]
    second = fired_words([[fired[1]]])
    assert [(word.token, word.text) for word in second] == [(f"\u4e2d{MARK}", "\u4e2d")]
    assert str(keywords(fired_words([fired[:3]]), [])) == 'fires on "\u4e2d"'


def test_word_around_a_piece_of_a_character_is_whole():
    texts = [" gar", "\u00e7", MARK, "on", "!"]
    assert fired_token(texts, 3, 1.0) == FiredToken("on", 1.0, "gar\u00e7on")
    assert fired_token(texts, 2, 1.0) == FiredToken(f"\u00e7{MARK}", 1.0, "gar\u00e7on")
    assert fired_token([MARK, "a"], 0, 1.0).text == "", "nothing is known of its character"


def test_pieces_of_one_family_are_promoted_once():
    listed = ["<0xE4><0xB8>", " <0xE4><0xB8>", "<0x98>"]
    said = 'part of a character from "\u4e00" to "\u4e3f", part of a character (byte 98)'
    assert line([], listed) == f"promotes {said}"
