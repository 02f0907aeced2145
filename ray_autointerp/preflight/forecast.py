"""What the LLM steps of a run will ask, in tokens, before anything is done.

The project's own prompts are rendered with sample evidence and counted in the LLM's own
tokenizer and chat template. Of every kind a dozen are counted and their mean is multiplied by the
requests of plan/units.py. What is asked again after a bad answer is not foreseen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import fmean
from typing import TYPE_CHECKING

from ray_autointerp.config import Config, LLMSection
from ray_autointerp.errors import SubjectError
from ray_autointerp.methods.unseen_tokens import NUM_UNSEEN
from ray_autointerp.plan.controls import method_of
from ray_autointerp.plan.estimate import asked_about
from ray_autointerp.plan.evidence import explainer_of
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.forecast import Forecast, asked_of
from ray_autointerp.plan.shards import Axes, methods_of
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.plan.units import (
    JUDGEMENTS_PER_UNIT,
    sentence_text,
    surprisal_units,
    texts_of,
    three_set_texts,
    two_set_units,
)
from ray_autointerp.preflight.sample_prompts import SamplePrompts, answered, written
from ray_autointerp.prompts import (
    detection,
    ensemble,
    fuzzing,
    intervention_surprisal,
    judge,
    sentences,
    unseen_tokens,
)
from ray_autointerp.prompts.judgement import SetJudgement, TextJudgement
from ray_autointerp.prompts.known_answer import known_answers, known_likelihood
from ray_autointerp.prompts.message import Message
from ray_autointerp.records.usage import Usage

if TYPE_CHECKING:
    from ray_autointerp.models.tokenizer import SubjectTokenizer

Prompt = tuple[Message, ...]

_SAMPLES = 12
"""Prompts counted of each kind."""

_DESCRIPTIONS = 4
"""Of those, where each is asked about many texts."""

_BLOCK = 16
"""Tokens of a block of vLLM's prefix cache, unless `engine_args` say: whole blocks are shared."""


@dataclass(frozen=True)
class _Kind:
    """Requests of one kind: prompts in the order of asking, of which each stands for many."""

    prompts: Sequence[Prompt]
    answers: Sequence[str] | None
    """None is one token."""
    num_requests: int
    given: Sequence[str] = ()
    """Answers that go in with the prompts, for their log-probabilities."""


def forecast(config: Config, axes: Axes) -> Forecast:
    """Tokens of every LLM step, for a config that `check` completed. Raises CorpusError."""
    from ray_autointerp.models.tokenizer import SubjectTokenizer

    subject = SubjectTokenizer.load(config.subject.model, revision=config.subject.revision)
    sample_prompts = SamplePrompts(config, subject)
    notes: dict[str, None] = {}
    steps = {}
    for step in FLOW:
        if step.pool not in LLM_POOLS:
            continue
        section = asked_of(step, config)
        counter, note = _counter(section, subject)
        if note:
            notes[note] = None
        steps[step.name] = Usage()
        for method in methods_of(step, config):
            assert method is not None
            ordinary, more = asked_about(step, method, config, axes)
            for kind in KINDS[step.name](method, ordinary, config, sample_prompts):
                steps[step.name] += counter.usage(kind)
            if more:
                kind = CONTROL_KINDS[step.name](method, more, config, sample_prompts)
                steps[step.name] += counter.usage(kind)
    return Forecast(steps, tuple(notes))


def _explained(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> Iterator[_Kind]:
    describe, parts = config.describe, explainer_of(method).parts
    cap = ensemble.part_cap(describe.cap_words) if parts else describe.cap_words
    for part in parts or (method,):
        text = explainer_of(part).text
        if text is None:
            continue
        questions = [
            explainer_of(part).question(*sample_prompts.evidence(i), cap, describe.structured)
            for i in range(_SAMPLES)
        ]
        shown = [question.messages for question in questions if question is not None]
        answers = [answered(text, cap, i, describe.structured) for i in range(_SAMPLES)]
        if shown:  # nothing is known of evidence that a run has yet to make
            yield _Kind(shown, answers, requests // (len(parts) or 1))


def _sentences(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> Iterator[_Kind]:
    name, number = sentence_text(config), config.score.num_sentences
    texts = [sample_prompts.description(method, i) for i in range(_SAMPLES)]
    asked = [sentences.ask(name, text, number) for text in texts]
    yield _Kind(asked, [written(name, number)], requests)


def _judged(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> Iterator[_Kind]:
    """Two-set trials and the three-set question."""
    units = two_set_units(method, config)
    two = requests
    if method_of(method) in config.score.three_set_methods:
        three = requests // (len(units) * JUDGEMENTS_PER_UNIT + 1)
        two -= three
        texts = [text.prompt for text in three_set_texts()]
        asked = []
        for i in range(_SAMPLES):
            sets = [[sample_prompts.steered(p, 3 * i + s) for p in texts] for s in range(3)]
            asked.append(judge.ask_three(sample_prompts.description(method, i), sets))
        yield _Kind(asked, None, three)
    yield _judged_in_twos(method, two, config, sample_prompts)


def _judged_in_twos(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> _Kind:
    """The same sets under two descriptions."""
    units = [unit for _, unit in two_set_units(method, config)]
    sets = []
    for i in range(_SAMPLES):
        texts = [text.prompt for text in texts_of(units[i % len(units)], config)]
        sets.append([[sample_prompts.steered(p, 2 * i + s) for p in texts] for s in range(2)])
    return _sets_judged(judge.TWO_SETS, sets, method, requests, config, sample_prompts)


def _unseen(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> Iterator[_Kind]:
    """The same lists under two descriptions."""
    sets = [
        [sample_prompts.tokens(2 * i + s, NUM_UNSEEN // 2) for s in range(2)]
        for i in range(_SAMPLES)
    ]
    judgement = unseen_tokens.JUDGEMENT
    yield _sets_judged(judgement, sets, method, requests, config, sample_prompts)


def _sets_judged(
    judgement: SetJudgement,
    sets: Sequence[Sequence[Sequence[str]]],
    method: str,
    requests: int,
    config: Config,
    sample_prompts: SamplePrompts,
) -> _Kind:
    trials = [
        (sample_prompts.description(method, n), two)
        for i, two in enumerate(sets)
        for n in (i, i + 1)
    ]
    if config.score.judged_by == "choice":
        return _Kind([judgement.ask(text, *two) for text, two in trials], None, requests)
    asked = [judgement.write(text) for text, two in trials for _ in two]
    return _Kind(asked, None, requests, [judgement.written(one) for two in sets for one in two])


def _surprised(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> Iterator[_Kind]:
    """A description after a set."""
    units = surprisal_units(config)
    asked = []
    for i in range(_SAMPLES):
        texts = [text.prompt for text in texts_of(units[i % len(units)], config)]
        asked.append(intervention_surprisal.ask([sample_prompts.steered(p, i) for p in texts]))
    given = [sample_prompts.description(method, i) for i in range(_SAMPLES)]
    yield _Kind(asked, None, requests, given)


def _detected(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> Iterator[_Kind]:
    descriptions = [sample_prompts.description(method, i) for i in range(_SAMPLES)]
    judgement = detection.JUDGEMENT
    yield _texts_judged(judgement, sample_prompts.excerpt, descriptions, requests, config)


def _fuzzed(
    method: str, requests: int, config: Config, sample_prompts: SamplePrompts
) -> Iterator[_Kind]:
    descriptions = [sample_prompts.description(method, i) for i in range(_SAMPLES)]
    judgement = fuzzing.JUDGEMENT
    yield _texts_judged(judgement, sample_prompts.marked_excerpt, descriptions, requests, config)


def _texts_judged(
    judgement: TextJudgement,
    excerpt: Callable[[int], str],
    descriptions: Sequence[str],
    requests: int,
    config: Config,
) -> _Kind:
    """Of a few lists of texts, each text is asked about; or some texts are given to each prompt."""
    if config.score.judged_by == "likelihood":
        texts = [excerpt(number) for number in range(_SAMPLES)]
        asked = [
            judgement.write(about)
            for description in descriptions[:_DESCRIPTIONS]
            for about in (description, None)
            for _ in texts
        ]
        return _Kind(asked, None, requests, texts)
    size = config.score.texts_per_prompt
    lists = [
        [excerpt(number) for number in range(start, start + size)]
        for start in range(0, _SAMPLES, size)
    ]
    asked = [
        judgement.ask(texts, description, number)
        for texts, description in zip(lists, descriptions, strict=False)
        for number in range(1, size + 1)
    ]
    return _Kind(asked, None, requests)


def _checked(step: str, requests: int, config: Config, _: SamplePrompts) -> Iterator[_Kind]:
    if config.score.judged_by == "choice":
        yield _Kind([known.messages for known in known_answers(step)], None, requests)
        return
    known = known_likelihood(step)
    asked = [known.write(about) for about in (known.description, None) for _ in range(2)]
    yield _Kind(asked, None, requests, (known.fitting, known.other))


KINDS: Mapping[str, Callable[[str, int, Config, SamplePrompts], Iterator[_Kind]]] = {
    "judge_check": _checked,
    "explain": _explained,
    "write_sentences": _sentences,
    "detection": _detected,
    "fuzzing": _fuzzed,
    "output_score": _judged,
    "unseen_tokens": _unseen,
    "intervention_surprisal": _surprised,
}
"""By step that asks an LLM, the kinds of its requests for one method."""

CONTROL_KINDS: Mapping[str, Callable[[str, int, Config, SamplePrompts], _Kind]] = {
    "output_score": _judged_in_twos,
}
"""By step that asks more about the control sample, the kind of those requests."""


class _Counter:
    """Counts tokens as one LLM would."""

    def __init__(self, tokenizer: "SubjectTokenizer", block: int | None) -> None:
        self._tokenizer = tokenizer
        self._block = block
        """Tokens of a block of its prefix cache; None where there is no telling."""

    def usage(self, kind: _Kind) -> Usage:
        """Of all requests of the kind."""
        prompts = [self._tokenizer.encode_prompt(_plain(p)) for p in kind.prompts]
        given = [len(self._tokenizer.encode(text)) for text in kind.given]
        answers = kind.answers
        answered = 1.0
        if answers is not None:  # the token that ends an answer is generated too
            answered = 1 + fmean(len(self._tokenizer.encode(text)) for text in answers)
        return Usage(
            kind.num_requests,
            round(kind.num_requests * (fmean(map(len, prompts)) + (fmean(given) if given else 0))),
            round(max(0, kind.num_requests - 1) * self._cached(prompts)),
            round(kind.num_requests * answered),
        )

    def _cached(self, prompts: Sequence[Sequence[int]]) -> float:
        """Tokens of a prompt that an earlier one of its kind began with, on average."""
        if self._block is None:
            return 0.0
        return fmean(
            max(_shared(one, other) for other in prompts[:i]) // self._block * self._block
            for i, one in enumerate(prompts[1:], start=1)
        )


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _plain(messages: Prompt) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _counter(section: LLMSection, subject: "SubjectTokenizer") -> tuple[_Counter, str | None]:
    """How an LLM counts, and what to say where its tokenizer cannot be had."""
    from ray_autointerp.models.tokenizer import SubjectTokenizer

    if section.backend != "vllm":
        name = section.model or section.script
        return _Counter(subject, None), _by_subject(name, f"of the {section.backend} backend")
    block = int(section.engine_args.get("block_size", _BLOCK))
    try:
        return _Counter(SubjectTokenizer.load(section.model), block), None
    except SubjectError:
        return _Counter(subject, block), _by_subject(section.model, "whose own is not here")


def _by_subject(name: str, why: str) -> str:
    return f"Tokens of {name} ({why}) are counted by the subject's tokenizer."
