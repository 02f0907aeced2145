"""Answers of a task are kept, remembered and never asked for twice; what kills engines is found."""

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.errors import EngineDied, LLMError, OverBudget
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.prompts.message import Message
from ray_autointerp.records.layout import answers_folder
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs import answers as module
from ray_autointerp.runs.answers import Answers, paid_by_method, remembered, spent
from ray_autointerp.runs.spending import Spending
from ray_autointerp.storage.folder import FolderStore
from ray_autointerp.storage.parquet import read_table, write_table
from ray_autointerp.storage.store import Store, open_store

TASK = Task("explain", "sae", "max_act", 0, 2)

Reply = Callable[[Request], Awaitable[Answer]]


def config(**sections: dict[str, Any]) -> Config:
    raw: dict[str, Any] = {
        "run": {"name": "r"},
        "subject": {"model": "m"},
        "sae": [{"id": "sae", "path": "s"}],
        "corpus": {"path": "c"},
        "llm": {"backend": "scripted", "script": "a:b"},
    }
    for name, values in sections.items():
        raw[name] = raw.get(name, {}) | values
    return parse_config(raw, Path("config.toml"))


def request(text: str) -> Request:
    return Request((Message("user", text),), max_tokens=5)


def said(asked: Request) -> str:
    return asked.messages[0].content


def told(asked: Request) -> Answer:
    """Seven prompt tokens, two of them cached, and three generated ones."""
    return Answer(f"about {said(asked)}", "stop", None, 7, 3, 2)


class Counting:
    """An LLM that writes down whom it answered, and how many it answered at once."""

    def __init__(self, reply: Reply | None = None) -> None:
        self._reply = reply
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0

    async def start(self) -> None:
        pass

    async def ask(self, asked: Request) -> Answer:
        self.asked.append(said(asked))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            return await self._reply(asked) if self._reply else told(asked)
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        pass


def ask_all(
    store: Store,
    llm: Counting,
    texts: Sequence[str],
    *,
    spending: Spending | None = None,
    width: int | None = None,
) -> list[Answer]:
    """A stage in small: all questions of one task at once, and the first error raised."""

    async def work() -> list[Answer]:
        async with Answers(
            llm, TASK, store, spending or Spending(config()), width=width
        ) as answers:
            return await asyncio.gather(*(answers.ask(request(text)) for text in texts))

    return asyncio.run(work())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def test_second_attempt_asks_nothing_and_hears_the_same(store: Store) -> None:
    first, second = Counting(), Counting()
    texts = [f"question {n}" for n in range(600)]
    answers = ask_all(store, first, texts)
    assert ask_all(store, second, texts) == answers
    assert (len(first.asked), second.asked) == (600, [])


@pytest.mark.parametrize(
    "answer",
    [
        Answer("", "length"),
        Answer("Ünïcode \u2028 \x00 and\nlines", "stop", None, 1, 2, 3),
        Answer("B", "stop", {"B": -0.1234567890123456789, "A": -7.5}, 9, 1, 0),
        Answer("A", "stop", {"A": 0.0, "B": float("-inf")}),
        Answer(" x", "length", answer_logprobs=[-0.1234567890123456789, float("-inf")]),
    ],
)
def test_answer_is_remembered_to_the_last_bit(store: Store, answer: Answer) -> None:
    async def reply(_: Request) -> Answer:
        return answer

    ask_all(store, Counting(reply), ["q"])
    (again,) = ask_all(store, Counting(), ["q"])
    assert again == answer
    if answer.choice_logprobs is not None and again.choice_logprobs is not None:
        assert list(again.choice_logprobs) == list(answer.choice_logprobs)


def test_answers_kept_before_there_were_given_ones_are_remembered(store: Store) -> None:
    ask_all(store, Counting(), ["q"])
    (name,) = store.list(answers_folder(TASK))
    table = read_table(store, name).drop_columns("answer_logprobs")
    (Path(store.uri) / name).unlink()
    write_table(store, name, table, table.schema, {})
    again = Counting()
    assert ask_all(store, again, ["q"]) == [told(request("q"))]
    assert not again.asked


def test_key_of_a_question_is_that_of_earlier_versions() -> None:
    """A given answer decides it too."""
    messages = (Message("user", "q"),)
    assert Request(messages, 5).key == "2df0a9270bd259adf40e5318e65d2c58"
    assert Request(messages, 1, choices=("A", "B")).key == "24d9ade894e1d52fcc2ce6a19373f25b"
    assert len({Request(messages, 1, answer=answer).key for answer in ("a", "b", None)}) == 3


@settings(max_examples=25)
@given(
    texts=st.lists(st.sampled_from("abcdefghij"), max_size=20),
    deaths=st.lists(st.integers(0, 12), max_size=3),
    width=st.one_of(st.none(), st.integers(1, 4)),
)
def test_whatever_fails_no_question_is_answered_twice(
    texts: list[str], deaths: list[int], width: int | None
) -> None:
    """An engine dies at some questions: attempts go on until one ends."""
    answered: Counter[str] = Counter()

    def dying_after(number: int | None) -> Counting:
        left = number

        async def reply(asked: Request) -> Answer:
            nonlocal left
            if left == 0:
                raise EngineDied("it died")
            if left is not None:
                left -= 1
            answered[said(asked)] += 1
            return told(asked)

        return Counting(reply)

    with TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        # At width 1 deaths count against a request: two of one request are quarantine.
        for number in deaths[:1] if width == 1 else deaths:
            with contextlib.suppress(EngineDied):
                ask_all(store, dying_after(number), texts, width=width)
        answers = ask_all(store, dying_after(None), texts, width=width)
        assert answers == [told(request(text)) for text in texts]
        assert answered == Counter(set(texts))
        assert spent(store).num_requests == len(set(texts))


def test_equal_questions_in_flight_are_one(store: Store) -> None:
    llm = Counting()
    answers = ask_all(store, llm, ["same"] * 5 + ["other"])
    assert sorted(llm.asked) == ["other", "same"]
    assert len(set(answers[:5])) == 1


def test_full_segment_is_written_while_others_are_in_flight(store: Store) -> None:
    number = module.SEGMENT_ANSWERS
    asyncio.run(written_while_one_waits(store, [f"{n}" for n in range(number)], number))


def test_answer_waits_only_so_long_to_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_SECONDS", 0.01)
    asyncio.run(written_while_one_waits(store, ["first"], 1))


async def written_while_one_waits(store: Store, texts: list[str], number: int) -> None:
    release = asyncio.Event()

    async def reply(asked: Request) -> Answer:
        if said(asked) == "slow":
            await release.wait()
        return told(asked)

    spending = Spending(config(llm={"requests_in_flight": 1000}))
    async with Answers(Counting(reply), TASK, store, spending) as answers:
        asked = [asyncio.create_task(answers.ask(request(text))) for text in [*texts, "slow"]]
        async with asyncio.timeout(60):
            while len(remembered(store, TASK)[0]) < number:
                await asyncio.sleep(0.01)
        release.set()
        await asyncio.gather(*asked)
    assert len(remembered(store, TASK)[0]) == number + 1


def test_number_that_somebody_else_took_is_passed_over(store: Store) -> None:
    async def work() -> None:
        spending = Spending(config())
        mine = Answers(Counting(), TASK, store, spending)
        await mine.start()
        async with Answers(Counting(), TASK, store, spending) as other:
            await other.ask(request("theirs"))
        await mine.ask(request("mine"))
        await mine.close()

    asyncio.run(work())
    assert len(store.list(answers_folder(TASK))) == 2
    again = Counting()
    ask_all(store, again, ["mine", "theirs"])
    assert again.asked == []


def test_what_was_not_asked_is_not_kept(store: Store) -> None:
    async def reply(_: Request) -> Answer:
        return Answer("too long", "error", num_prompt_tokens=9000)

    ask_all(store, Counting(reply), ["a", "b"])
    assert store.list("answers/") == []
    again = Counting()
    ask_all(store, again, ["a", "b"])
    assert sorted(again.asked) == ["a", "b"]


def test_cancelled_task_keeps_what_was_answered(store: Store) -> None:
    async def reply(asked: Request) -> Answer:
        if said(asked) == "never":
            await asyncio.Event().wait()
        return told(asked)

    async def work() -> None:
        answered = asyncio.Event()

        async def stage() -> None:
            async with Answers(Counting(reply), TASK, store, Spending(config())) as answers:
                await answers.ask(request("quick"))
                answered.set()
                await answers.ask(request("never"))

        task = asyncio.create_task(stage())
        await answered.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    again = Counting()
    ask_all(store, again, ["quick", "never"])
    assert again.asked == ["never"]


@pytest.mark.parametrize("width", [1, 3])
def test_width_bounds_what_is_in_flight_and_keeps_the_order(store: Store, width: int) -> None:
    llm = Counting()
    texts = [f"{n}" for n in range(20)]
    ask_all(store, llm, texts, width=width)
    assert llm.most_at_once == width
    assert llm.asked == texts


def test_engine_that_dies_at_a_width_leaves_few_answers_unwritten(store: Store) -> None:
    async def reply(asked: Request) -> Answer:
        if said(asked) == "17":
            raise EngineDied("it died")
        return told(asked)

    with pytest.raises(EngineDied):
        ask_all(store, Counting(reply), [f"{n}" for n in range(40)], width=4)
    again = Counting()
    ask_all(store, again, [f"{n}" for n in range(40)])
    assert again.asked[0] == "17"
    assert len(again.asked) <= 40 - 17, "what was answered before is remembered"


def test_request_that_kills_engines_alone_twice_is_quarantined(store: Store) -> None:
    async def reply(asked: Request) -> Answer:
        if said(asked) == "poison":
            raise EngineDied("it died")
        return told(asked)

    texts = ["a", "poison", "b"]
    for _ in range(2):
        with pytest.raises(EngineDied):
            ask_all(store, Counting(reply), texts, width=1)
    third = Counting(reply)
    answers = ask_all(store, third, texts, width=1)
    assert "poison" not in third.asked
    assert [answer.finish_reason for answer in answers] == ["stop", "quarantined", "stop"]
    assert TASK.name in answers[1].text
    fourth = Counting(reply)
    assert ask_all(store, fourth, texts) == answers
    assert fourth.asked == [], "quarantine holds at every width"


def test_engine_that_dies_is_asked_no_more_by_its_task(store: Store) -> None:
    async def reply(_: Request) -> Answer:
        raise EngineDied("it died")

    llm = Counting(reply)
    spending = Spending(config(llm={"requests_in_flight": 4}))
    with pytest.raises(EngineDied):
        ask_all(store, llm, [f"{n}" for n in range(100)], spending=spending)
    assert len(llm.asked) == 4


def test_engine_that_cannot_start_is_tried_once(store: Store) -> None:
    class Absent(Counting):
        num_starts = 0

        async def start(self) -> None:
            self.num_starts += 1
            await asyncio.sleep(0)
            raise LLMError("there is no such model")

    llm = Absent()
    with pytest.raises(LLMError, match="no such model"):
        ask_all(store, llm, [f"{n}" for n in range(100)])
    assert (llm.num_starts, llm.asked) == (1, [])


def test_over_the_ceiling_what_is_in_flight_is_kept_and_a_higher_one_goes_on(store: Store) -> None:
    """Each answer is ten tokens; two are asked at once."""
    low = config(budget={"max_tokens": 35}, llm={"requests_in_flight": 2})
    texts = [f"{n}" for n in range(10)]
    first = Counting()
    with pytest.raises(OverBudget, match=r"max_tokens = 35 .*[45]0 tokens spent.*higher ceiling"):
        ask_all(store, first, texts, spending=Spending(low))
    assert 4 <= len(first.asked) <= 5
    assert spent(store).num_tokens == 10 * len(first.asked)
    second = Counting()
    high = config(budget={"max_tokens": 1000})
    ask_all(store, second, texts, spending=Spending(high, {"llm": spent(store)}))
    assert sorted(first.asked + second.asked) == sorted(texts)


def test_what_was_spent_before_counts(store: Store) -> None:
    spending = Spending(config(budget={"max_tokens": 35}), {"llm": Usage(1, 30, 0, 5)})
    llm = Counting()
    with pytest.raises(OverBudget):
        ask_all(store, llm, ["a"], spending=spending)
    assert llm.asked == []


def test_finish_mode_answers_over_budget_and_still_remembers(store: Store) -> None:
    ask_all(store, Counting(), ["known"])
    budget = {"max_tokens": 1, "when_reached": "finish"}
    spending = Spending(config(budget=budget), {"llm": spent(store)})
    llm = Counting()
    known, new = ask_all(store, llm, ["known", "new"], spending=spending)
    assert (known.finish_reason, new.finish_reason) == ("stop", "over_budget")
    assert llm.asked == []
    again = Counting()
    ask_all(store, again, ["new"])
    assert again.asked == ["new"], "what the ceiling withheld is no answer"


def test_footers_hold_what_was_paid(store: Store) -> None:
    spending = Spending(config())
    ask_all(store, Counting(), [f"{n}" for n in range(300)], spending=spending)
    claimed = spending.claim(TASK)
    usage = spent(store, "explain")
    assert usage == spent(store)
    assert (usage.num_requests, usage.num_tokens, usage.num_cached_tokens) == (300, 3000, 600)
    assert usage.engine_seconds == pytest.approx(claimed.engine_seconds)
    assert claimed.num_tokens == 3000
    assert list(paid_by_method(store)) == [("explain", "max_act")]
    assert spent(store, "write_sentences") == Usage()
    assert spending.claim(TASK) == Usage(), "an attempt is paid for once"


KILLED = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_answers import Counting, ask_all, config, request, told
from ray_autointerp.runs.spending import Spending
from ray_autointerp.storage.store import open_store

async def reply(asked):
    if len(llm.asked) >= 1700:
        os.kill(os.getpid(), signal.SIGKILL)
    return told(asked)

llm = Counting(reply)
spending = Spending(config(llm={"requests_in_flight": 16}))
ask_all(open_store(sys.argv[1]), llm, [f"{n}" for n in range(2000)], spending=spending)
"""


def test_killed_process_costs_only_what_was_not_written(tmp_path: Path, store: Store) -> None:
    """kill -9 at the 1,700th of 2,000 questions."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode == -9
    kept = len(remembered(store, TASK)[0])
    lost = 1700 - kept
    assert lost <= 2 * module.SEGMENT_ANSWERS + 16, "written, gathered and in flight"
    again = Counting()
    ask_all(store, again, [f"{n}" for n in range(2000)])
    assert len(again.asked) == 2000 - kept
