"""Why an engine could not start, or died: one sentence, from what its processes left behind."""

import re
import signal
from collections.abc import Iterable
from pathlib import Path

_ORIGIN = re.compile(r"^\([^()]*pid=\d+\)\s*")
_STAMP = re.compile(r"^(?:ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[[^\]]*\]\s*")
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception)\b(?:: (?P<message>.+))?$")
_POINTERS = ("root cause", "stack trace", "EngineCore encountered", "initialization failed")
"""Errors that only point at another error."""
_FAILED = re.compile(r"'EngineCore\w*': (-\d+)")


def reason(lines: Iterable[str]) -> str | None:
    """The last error in the output of the engine's processes that names a cause."""
    for line in reversed(list(lines)):
        raised = _RAISED.match(_STAMP.sub("", _ORIGIN.sub("", line.strip())))
        message = raised and (raised["message"] or raised[0])
        if message and not any(pointer in message for pointer in _POINTERS):
            return _first_sentence(message)
    return None


def end_of(exit_code: int | None, lines: Iterable[str]) -> str:
    """How a process ended: the signal that killed it, or the error that it printed."""
    if exit_code is not None and exit_code < 0:
        name = _signal_name(-exit_code)
        hint = ", which a machine short of memory does" if name == "SIGKILL" else ""
        return f"it was killed by {name}{hint}"
    if (cause := reason(lines)) is not None:
        return cause
    return "it gave no reason" if exit_code is None else f"its process ended with code {exit_code}"


def ended_silently(error: Exception, lines: Iterable[str]) -> bool:
    """Whether the engine's processes ended while it started and none printed why: they were killed.

    vLLM names the exit code, and so the signal, only where it was there in time.
    """
    return any(pointer in str(error) for pointer in _POINTERS) and reason(lines) is None


def start_failure(model: str, error: Exception, lines: Iterable[str]) -> str:
    """The sentence for an engine that could not start, with the setting that mends it."""
    if ended_silently(error, lines):
        failed = _FAILED.search(str(error))
        signal_name = f" by {_signal_name(-int(failed[1]))}" if failed else ""
        return (
            f"The engine of {model} was killed{signal_name} while it started, twice: see that the "
            "machine has the memory for its weights."
        )
    text = str(error)
    if any(pointer in text for pointer in _POINTERS):
        text = reason(lines) or text
    why = _first_sentence(_without_headline(text) or type(error).__name__)
    if _is_no_model(model, text):
        return f"The LLM {model} is neither a local directory nor to be had from the hub: {why}."
    if "max_model_len" in text and "is greater than" in text:
        return f"{model} cannot read so long a prompt: lower llm.max_model_len ({why})."
    if "KV cache" in text or "cache blocks" in text or "memory" in text.lower():
        return (
            f"vLLM has not enough memory for {model}: lower llm.max_model_len, or give more with "
            f"llm.engine_args ({why})."
        )
    if "unexpected keyword argument" in text:
        return f"vLLM knows no such setting: correct llm.engine_args ({why})."
    if "dtype" in text.lower() or "bfloat16" in text.lower() or "float16" in text.lower():
        return f"vLLM cannot serve {model} in this dtype; set llm.dtype ({why})."
    return f"vLLM cannot start with {model}: {why}."


def _is_no_model(model: str, text: str) -> bool:
    signs = ("not a valid model", "offline", "outgoing traffic", "couldn't connect", "snapshot")
    return not Path(model).is_dir() and any(sign in text.lower() for sign in signs)


def _without_headline(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and "validation error" in lines[0]:  # pydantic's headline; the sentence is below it
        lines = lines[1:]
    return lines[0].removeprefix("Value error, ") if lines else ""


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].partition(" [type=")[0].rstrip(".")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
