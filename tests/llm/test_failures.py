"""Why an engine failed, read from what vLLM raises and prints."""

import pytest

from ray_autointerp.llm.failures import end_of, ended_silently, reason, start_failure

SEE_ABOVE = "Engine core initialization failed. See root cause above. Failed core proc(s): "
STAMP = "(EngineCore pid=71) ERROR 11-26 09:00:00 [core.py:1104] "
PRINTED = [
    "Loading safetensors checkpoint shards: 100% Completed",
    STAMP + "EngineCore failed to start.",
    STAMP + "Traceback (most recent call last):",
    STAMP + '  File "x.py", line 1, in f',
    STAMP + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "(EngineCore pid=71) Exception: WorkerProc failed. See stack trace for root cause.",
    "RuntimeError: " + SEE_ABOVE + "{}",
]


def test_reason_is_the_last_error_that_does_not_point_at_another() -> None:
    assert reason(PRINTED) == "CUDA out of memory"
    assert reason(["all is well"]) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SEE_ABOVE + "{'EngineCore': 1}", "not enough memory for some/model"),
        ("No available memory for the cache blocks. Try more", "not enough memory"),
        (
            "1 validation error for ModelConfig\n  Value error, User-specified max_model_len (9) "
            "is greater than the derived max_model_len. It [type=value_error]",
            r"lower llm\.max_model_len \(User-specified max_model_len \(9\) is greater",
        ),
        (
            "Cannot find an appropriate cached snapshot folder and outgoing traffic is disabled",
            "neither a local directory nor to be had from the hub",
        ),
        ("Value error, The model type 'x' does not support float16. Reason", r"set llm\.dtype"),
        ("unexpected keyword argument 'foo'", r"correct llm\.engine_args"),
        ("the moon is full. And more", r"vLLM cannot start with some/model: the moon is full\."),
    ],
)
def test_failed_start_is_told_in_one_sentence_with_what_mends_it(text: str, said: str) -> None:
    sentence = start_failure("some/model", RuntimeError(text), PRINTED)
    assert sentence.count(". ") == 0
    with pytest.raises(RuntimeError, match=said):
        raise RuntimeError(sentence)


def test_end_of_a_process_is_its_signal_or_its_last_error() -> None:
    assert end_of(-11, PRINTED) == "it was killed by SIGSEGV"
    assert end_of(1, PRINTED) == "CUDA out of memory"
    assert end_of(3, []) == "its process ended with code 3"


def test_engine_that_ended_without_a_word_was_killed() -> None:
    died = RuntimeError(SEE_ABOVE + "{}")
    assert ended_silently(died, PRINTED[:1])
    assert not ended_silently(died, PRINTED)
    assert not ended_silently(ValueError("max_model_len"), [])
    assert "was killed while it started" in start_failure("some/model", died, [])
    died = RuntimeError(SEE_ABOVE + "{'EngineCore': -9}")
    assert "was killed by SIGKILL while it started" in start_failure("some/model", died, [])
