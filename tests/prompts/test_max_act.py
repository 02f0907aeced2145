"""Marked examples: every active token is marked with its strength, and no text is lost."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.prompts import max_act
from ray_autointerp.prompts.max_act import Example, MaxActEvidence, marked
from ray_autointerp.records.split_characters import CONTINUED as MARK

WORDS = st.lists(st.from_regex(r" [a-z]{1,6}", fullmatch=True), min_size=1, max_size=12)


@given(WORDS, st.data())
def test_marks_enclose_exactly_the_active_runs(words: list[str], data: st.DataObject) -> None:
    strengths = [data.draw(st.integers(0, 10)) for _ in words]
    text = marked(words, strengths)
    assert " ".join(text.replace("<<", "").replace(">>", "").split()) == "".join(words).strip()
    inside = " ".join(part.partition(">>")[0] for part in text.split("<<")[1:])
    active = "".join(w for w, s in zip(words, strengths, strict=True) if s > 0)
    assert inside.split() == active.split()
    assert "<< " not in text and " >>" not in text, "marks stand at words"


@given(st.lists(st.floats(0, 50), min_size=1, max_size=8), st.floats(50, 100))
def test_strength_is_a_tenth_of_the_latents_maximum(acts: list[float], maximum: float) -> None:
    """Not of the example's own: an example half as strong says 5 (methods 7, trap 1)."""
    example = Example(tuple(f" w{n}" for n in range(len(acts))), tuple(acts))
    said = max_act.rendered(MaxActEvidence((example,), maximum)).splitlines()[-1]
    expected = [
        f'"w{n}" {int(10 * act / maximum)}' for n, act in enumerate(acts) if 10 * act >= maximum
    ]
    assert said == f"Active: {', '.join(expected)}"


def test_strongest_token_has_strength_ten() -> None:
    example = Example((" owl",), (3.7,))
    assert '"owl" 10' in max_act.rendered(MaxActEvidence((example,), 3.7))


def test_character_in_pieces_is_shown_once_with_the_strength_of_its_strongest() -> None:
    tokens = ("a", " \u4e2d", MARK, f"{MARK}\u6587", MARK, " b")
    said = max_act.rendered(MaxActEvidence((Example(tokens, (0.0, 0.0, 2.0, 0.0, 0.0, 4.0)),), 4.0))
    assert said == 'Text 1: a <<\u4e2d\u6587 b>>\nActive: "\u4e2d\u6587" 5, "b" 10'
    assert marked(tokens, [0, 0, 1, 0, 0, 0]) == "a <<\u4e2d\u6587>> b"


def test_text_cut_within_a_character_begins_behind_it_unless_that_is_active() -> None:
    assert marked((MARK, " b"), (0, 1)) == "<<b>>"
    assert marked((MARK, " b"), (1, 0)) == f"<<{MARK}>> b"
