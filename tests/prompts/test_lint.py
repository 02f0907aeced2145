"""Texts that live label sets hold and that describe nothing, and texts like them that do."""

import pytest

from ray_autointerp.prompts import question
from ray_autointerp.prompts.answer import BadAnswer, read_description
from ray_autointerp.prompts.lint import echoes, says_nothing
from ray_autointerp.prompts.text import few_shots
from ray_autointerp.prompts.token_lists import TokenLists, rendered

LEAKED_REASONING = [
    "Okay, let's look at what the top activations have in common",
    "Okay, so I need to find what this neuron responds to",
    "Alright, the user wants a short phrase for these tokens",
    "Let me go through the texts: the first one has a comma",
    "We need to find the pattern in the tokens above",
    "We are given texts in which the neuron fires and the tokens after them",
    "Looking at the top tokens, there are many verbs",
    "Based on the provided examples, it fires on punctuation",
    "Hmm, the logits show code and the texts show poems",
    "I see that all of the texts are about food",
    "verbs. Wait, the final answer should be shorter",
    'the word "of"; my answer is short as asked',
]
PROMPT_FRAGMENTS = [
    "Look for what the strongly active tokens have in common: a word, a kind of word",
    "texts in which it was active, active tokens stand between marks and below each text the "
    "active tokens are listed with their strength",
    "Text 3: there was a chair near the window",
    "Active: beside",
    "one sentence that names what it responds to, and nothing else",
    "in the bill was vetoed by the governor in march",
]
BOILERPLATE = [
    "various contexts",
    "The pattern here is words that...",
    "words and phrases related to various topics",
    "The common theme is a variety of words in different contexts.",
    "This neuron activates on specific words or phrases in text",
    "tokens that appear frequently in English sentences",
    "common words",
    "The unit responds to various tokens and their contexts",
    "a wide range of topics and subjects",
]
OVER_LONG = ["owls and " * 40]

DESCRIPTIONS = [
    'phrases such as "let me" and "let us"',
    '"I see", "we see" and other verbs of seeing in the first person',
    '"okay" and "alright" at the start of an answer',
    "the comma",
    "conjunctions",
    'the word "the"',
    'the word "various"',
    "first-person pronouns",
    "the final answer in worked arithmetic",
    "given names of women",
    "numbers that count tokens in a vocabulary of coins",
    "users asking for a refund",
    "a chair by the window",
    "words for ships, in many languages",
]


def status(answer: str) -> str:
    asked = question.ask("max_act", "evidence", 30, False)
    with pytest.raises(BadAnswer) as bad:
        asked.read(answer, "stop")
    return bad.value.status


@pytest.mark.parametrize("answer", [*LEAKED_REASONING, *PROMPT_FRAGMENTS, *BOILERPLATE, *OVER_LONG])
def test_text_that_describes_nothing_is_lint(answer: str) -> None:
    assert status(answer) == "lint"


@pytest.mark.parametrize("answer", DESCRIPTIONS)
def test_description_that_is_like_one_of_them_is_kept(answer: str) -> None:
    asked = question.ask("max_act", "evidence", 30, False)
    assert asked.read(answer, "stop") == {"description": answer}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("The pattern here is ships and sailing", "ships and sailing"),
        ("The common theme is that of ships", "ships"),
        ("This unit responds to ships", "ships"),
    ],
)
def test_opening_that_a_description_follows_is_taken_off(answer: str, text: str) -> None:
    assert read_description(answer, "stop") == text


def test_eight_neighbouring_words_of_a_prompt_are_an_echo_and_seven_are_not() -> None:
    asked = few_shots("max_act")
    told = "The old man sat down beside the stove and said nothing"
    words = told.split()
    assert echoes(" ".join(words[:8]).upper() + "!", asked)
    assert not echoes(" ".join(words[:7]), asked)
    assert not echoes(" ".join([*words[:7], "owls", *words[7:]]), asked)


def test_eight_neighbours_of_a_shown_list_are_an_echo_however_they_are_written() -> None:
    names = ["Ern", "Ralph", "Field", "McGraw", "Bert", "Megan", "Bryan", "Rillard", "Herbert"]
    evidence = rendered(TokenLists(tuple(f" {name}" for name in names), ("owl", "moth")))
    asked = question.ask("jacobian_proj", evidence, 30, False)
    for copied in (", ".join(names[1:]), "names, such as " + '" "'.join(names[:8]).lower()):
        with pytest.raises(BadAnswer) as bad:
            asked.read(copied, "stop")
        assert bad.value.status == "lint"
    few = f"given names of men, such as {', '.join(names[:7])}"
    assert asked.read(few, "stop") == {"description": few}


def test_text_in_which_the_latent_is_active_may_be_repeated() -> None:
    evidence = "Text 1: it was a bright cold day in April and the clocks <<struck>> thirteen"
    asked = question.ask("max_act", evidence, 30, False)
    answer = "the verb in: a bright cold day in April and the clocks struck thirteen"
    assert asked.read(answer, "stop") == {"description": answer}


def test_nothing_is_said_by_general_words_alone_unless_one_is_quoted() -> None:
    assert says_nothing("words, and phrases")
    assert not says_nothing('the word "words"')
    assert not says_nothing("words for owls")
