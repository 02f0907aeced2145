"""A text that is copied, or that several latents have, says nothing of a latent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.plan.evidence import EXPLAINERS
from ray_autointerp.prompts.answer import BadAnswer, read_description
from ray_autointerp.prompts.message import Message
from ray_autointerp.prompts.repeated_text import (
    list_without_repeats,
    normal_form,
    repeated,
    repeats_run,
    worked_answers,
)
from ray_autointerp.prompts.text import few_shots

TEXTS = sorted({made.text for made in EXPLAINERS.values() if made.text})


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("wrapped", ["{}", "Description: {}.", '"{}"', "{} or their like"])
def test_answer_that_repeats_a_worked_example_is_lint(name: str, wrapped: str) -> None:
    asked = few_shots(name)
    worked = worked_answers(asked)
    assert len(worked) >= 2
    for answer in worked:
        for text in (wrapped.format(answer), wrapped.format(answer.upper().replace(",", " ,"))):
            with pytest.raises(BadAnswer) as bad:
                read_description(text, "stop", asked)
            assert bad.value.status == "lint"


def test_answer_that_is_a_part_of_a_worked_example_or_holds_one_as_part_of_a_word_is_kept() -> None:
    worked = (Message("assistant", 'ships and sailing, such as "sail"'),)
    for text in ("ships and sailing", "flagships and sailing such as sails"):
        assert read_description(text, "stop", worked) == text


def test_text_of_three_latents_is_repeated_and_of_two_is_not() -> None:
    texts = {1: 'the word "the"', 2: "The word: the.", 3: "THE WORD\nthe", 4: "owls", 5: "owls"}
    assert repeated(texts) == {1, 2, 3}
    assert repeated({latent: texts[latent] for latent in (1, 2, 4, 5)}) == set()


@given(st.dictionaries(st.integers(0, 99), st.sampled_from(["a", "B", "b!", "c d", "c, d"])))
def test_repeated_latents_do_not_depend_on_the_order(texts: dict[int, str]) -> None:
    found = repeated(texts)
    assert repeated(dict(reversed(texts.items()))) == found
    for latent, text in texts.items():
        same = [other for other in texts.values() if normal_form(other) == normal_form(text)]
        assert (latent in found) == (len(same) >= 3)


def test_run_of_words_is_repeated_whatever_its_case_and_punctuation() -> None:
    worked = ['archaic English, such as "thou", and against modern words such as "email"']
    assert repeats_run('Breathing, and against modern words such as "velation"', worked, 4)
    assert repeats_run("and AGAINST modern words", worked, 4)
    assert not repeats_run('against modern "words" such', ["modern words such as"], 4)
    assert not repeats_run("sand against modern wordsmiths", worked, 4)
    assert not repeats_run("modern words", worked, 4) and not repeats_run("", worked, 4)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("decisions, decisions, decisions.", "decisions"),
        ("pain, suffering, and suffering", "pain, suffering"),
        ('asking, such as "ask", "asks", "ask", and "asks"', 'asking, such as "ask", "asks"'),
        ('leads to "a b", "c", " a b", "d"', 'leads to "a b", "c", "d"'),
        # What follows another word is another list's.
        ('fires on "a", "b", and leads to "a", "b"', 'fires on "a", "b", and leads to "a", "b"'),
        ("owls,  the moon,the sun", "owls,  the moon,the sun"),
        ("verbs of one kind, nouns of one kind", "verbs of one kind, nouns of one kind"),
        # Tokens: case tells them apart, and nothing but marks is a name too.
        ('"IT", "it", "It"', '"IT", "it", "It"'),
        ('",", ".", ",", "of"', '",", ".", ",", "of"'),
        ('"best, " "good, " "best, "', '"best, " "good, " "best, "'),
    ],
)
def test_list_names_nothing_twice(text: str, kept: str) -> None:
    assert list_without_repeats(text) == kept


_ITEMS = st.lists(st.sampled_from(["owls", "the moon", '"owl"', "Owls", "night birds of prey"]))


@given(_ITEMS)
def test_list_without_repeats_keeps_every_name_and_is_at_rest(items: list[str]) -> None:
    text = list_without_repeats(", ".join(items))
    assert set(text.split(", ")) == set(items or [""])
    assert list_without_repeats(text) == text
