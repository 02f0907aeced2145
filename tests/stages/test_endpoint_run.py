"""One line of the config switches the door: a run by an endpoint says what a scripted run says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from chat_server import Server, completion

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.llm.door import Request
from ray_autointerp.llm.scripted import planted_script
from ray_autointerp.pipeline import label
from ray_autointerp.prompts.message import Message
from ray_autointerp.stages.run import Run
from ray_autointerp.stages.run_local import run_local
from ray_autointerp.stages.tables import Tables

Planted = Callable[..., Config]


def planted(_: int, body: dict[str, Any]) -> web.Response:
    """The planted script, from the body alone; of a judgement it has to guess the choices."""
    messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    choices = None
    if body.get("logprobs"):
        choices = ("A", "B", "C") if "Set C" in messages[-1].content else ("A", "B")
    answer = planted_script(
        Request(messages, body["max_tokens"], json_schema=schema, choices=choices)
    )
    if answer.choice_logprobs is None:
        return completion(answer.text)
    top = [{"token": c, "logprob": p} for c, p in answer.choice_logprobs.items()]
    first = {"token": answer.text, "logprob": 0.0, "top_logprobs": top}
    return completion(answer.text, logprobs={"content": [first]})


def test_run_by_an_endpoint_has_the_rows_of_a_scripted_run(
    quick_run: Run, quick_config: Planted, tmp_path: Path
) -> None:
    server = Server(planted)
    try:
        section = {
            "backend": "endpoint",
            "model": "planted",
            "script": "",
            "endpoints": [server.url],
        }
        run = label(quick_config(tmp_path, {"llm": section}), run_local, Silent())
    finally:
        server.close()
    (sae,) = run.saes
    for table in ("descriptions", "sentences", "judgements", "output_scores"):
        rows = [
            Tables(one).read(table, sae, "ensemble_raw").to_pylist() for one in (run, quick_run)
        ]
        assert rows[0] == rows[1], table
    assert Tables(run).read("labels", sae).equals(Tables(quick_run).read("labels", sae))
