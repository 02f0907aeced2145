"""How long the viewer's pages take of a run of 65,536 latents.

    .venv/bin/python jobs/benchmarks/viewer.py [--latents 65536] [--rounds 7] [--keep FOLDER]

A synthetic run whose every latent is described and scored, written through the project's schemas
and Parquet writer in parts of a run's size: all parts of `labels` and the selection, and of the
other tables those parts that hold the latents which are opened. Prints one JSON line: seconds
(median, least, most) of the first page after the start, of a search, and of a latent's page, each
of another word or latent, as the server makes them; drawing them is the browser's.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
from race import machine, report
from starlette.testclient import TestClient

from ray_autointerp.config import Config
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.identity import Inputs
from ray_autointerp.plan.shards import Axes, LatentRange, methods_of
from ray_autointerp.plan.step import Step
from ray_autointerp.records.layout import labels_file
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.manifest import open_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.parquet import write_table
from ray_autointerp.viewer.app import viewer_app
from ray_autointerp.viewer.viewed_run import viewed_runs

SAE, HOOK = "synthetic", "blocks.12.hook_resid_post"
PER_SHARD, PER_SELECTED, PER_GROUP = 512, 32, 32
METHODS = ("keywords", "named_keywords", "ensemble_raw")
WORDS = [a + b for a, b in product("ba ce di fo gu ha je ki lo mu".split(), repeat=2)]
WORDS = [f" {a}{b}" for a, b in product(WORDS, repeat=2)]

READ = (
    *("latent_stats", "free_scores", "keyword_scores", "top_examples", "neighbours", "choices"),
    *("vocab_proj", "jacobian_proj", "token_change", "descriptions", "sentences", "input_scores"),
    *("output_ceilings", "output_scores", "unseen_scores", "detection_scores", "completions"),
    *("fuzzing_scores", "judgements", "unseen_judgements", "unsteered_texts", "revivals"),
)
"""Tables from which a latent's page is made."""
KEYS: dict[str, Sequence[Any]] = {
    "split": ("explain", "score"),
    "sign": (-1, 1),
    "kl_target": (1.0,),
    "prompt": range(12),
    "draw": range(3),
    "kind": ("random_direction", "unsteered"),
    "text_set": range(12),
    "choosing": (False, True),
    "trial": range(8),
}
LENGTHS = {
    **{"examples": 20, "stratified": 20, "near_misses": 5, "following": 12, "neighbours": 10},
    **{"promoted": 50, "suppressed": 50, "reads": 50, "reads_against": 50, "histogram": 24},
    **{"texts": 32, "token_ids": 32, "activations": 32, "tokens": 20, "partner_tokens": 20},
}


def main() -> None:
    """Make the run, then open its pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--latents", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep", help="a folder for the run, which is used again if it is there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(asked.keep or folder)
        opened = [asked.latents * (2 * n + 1) // (2 * asked.rounds) for n in range(asked.rounds)]
        if not (root / "synthetic" / "sae" / SAE / "labels.parquet").exists():
            make(root, asked.latents, opened)
        report(**measured(root / "synthetic", opened), latents=asked.latents, machine=machine())


def measured(uri: Path, opened: Sequence[int]) -> dict[str, object]:
    """Seconds of each kind of page."""
    folder = f"/runs/synthetic/{SAE}"
    draw = random.Random(1)
    first, searched, latents = [], [], []
    for _ in opened:  # each time a new server, with nothing in memory
        start = time.perf_counter()
        client = TestClient(viewer_app(viewed_runs([str(uri)])))
        get(client, folder)
        first.append(time.perf_counter() - start)
    for _ in opened:
        start = time.perf_counter()
        get(client, f"{folder}?q={draw.choice(WORDS).strip()}+{draw.choice(WORDS).strip()[:2]}")
        searched.append(time.perf_counter() - start)
    for latent in opened:
        start = time.perf_counter()
        get(client, f"{folder}/{latent}")
        latents.append(time.perf_counter() - start)
    return {
        "first_page_s": spread(first),
        "search_s": spread(searched),
        "latent_page_s": spread(latents),
    }


def get(client: TestClient, path: str) -> None:
    """Ask for a page, which must be one."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text[-2000:]


def spread(seconds: Sequence[float]) -> list[float]:
    """Median, least and most."""
    return [round(value, 3) for value in (statistics.median(seconds), min(seconds), max(seconds))]


def make(root: Path, num_latents: int, opened: Sequence[int]) -> None:
    """Write the run."""
    config = Config.model_validate(
        {
            "run": {"name": "synthetic", "root": str(root)},
            "subject": {"model": "openai-community/gpt2"},
            "sae": [{"id": SAE, "path": SAE}],
            "corpus": {"path": "corpus.parquet"},
            "llm": {"backend": "scripted", "script": "none:none"},
            "describe": {"methods": METHODS},
            "score": {"methods": METHODS},
            "select": {"rule": "all"},
        }
    )
    latents = {SAE: LatentRange(0, num_latents)}
    axes = Axes(1, latents, PER_SHARD, PER_SELECTED, {SAE: HOOK}, 768, 256, {SAE: HOOK})
    inputs = Inputs("0", "0", "0", {SAE: "0"}, "none", defaultdict(str))
    run = open_run(config, axes, inputs, 16)
    assert run is not None
    tables, draw = Tables(run), random.Random(0)
    marks = [
        {
            "latent": n,
            "chosen": True,
            "carried": False,
            "panel": n < 64,
            "sample": n < 48,
            "control": n < 200,
            "order": n,
        }
        for n in range(num_latents)
    ]
    tables.write(Task("select", SAE, None, 0, 1), "selection", marks)
    for step in FLOW:
        if step.scope == "sae" and step.split in ("latents", "selection"):
            write_parts(run, step, opened, draw)
    whole = []
    for shard in range(axes.num_latent_shards(SAE)):
        part = pa.Table.from_pylist(
            [label(latent, draw) for latent in axes.latent_shard(SAE, shard)],
            schema=TABLES["labels"].schema,
        )
        task = Task("publish", SAE, None, shard, axes.num_latent_shards(SAE))
        tables.write(task, "labels", part)
        whole.append(part)
    unsteered = [
        {"prompt": prompt, "draw": 0} | filled("unsteered_texts", draw) for prompt in range(12)
    ]
    tables.write(Task("unsteered_texts", SAE, None, 0, 1), "unsteered_texts", unsteered)
    schema = TABLES["labels"].schema
    write_table(tables.store, labels_file(SAE), pa.concat_tables(whole), schema, {})


def write_parts(run: Run, step: Step, opened: Sequence[int], draw: random.Random) -> None:
    """Of each table that a step writes and the page reads, the parts that hold these latents."""
    per_shard = PER_SHARD if step.split == "latents" else PER_SELECTED
    num_latents = len(run.axes.latents[SAE])
    for method in methods_of(step, run.config):
        if method is not None and method.endswith(".shuffled"):
            continue
        for table in step.writes:
            if table not in READ:
                continue
            for shard in sorted({latent // per_shard for latent in opened}):
                inside = range(shard * per_shard, min((shard + 1) * per_shard, num_latents))
                rows = [row for latent in inside for row in rows_of(table, latent, draw)]
                groups = None
                if table == "top_examples":
                    groups = [
                        2 * len(inside[at : at + PER_GROUP])
                        for at in range(0, len(inside), PER_GROUP)
                    ]
                task = Task(step.name, SAE, method, shard, -(-num_latents // per_shard))
                Tables(run).write(task, table, rows, row_groups=groups)


def rows_of(table: str, latent: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    """A latent's rows, one for each value of the rest of the key."""
    rest = TABLES[table].key[1:]
    for values in product(*(KEYS[name] for name in rest)):
        yield {"latent": latent, **dict(zip(rest, values, strict=True))} | filled(table, draw)


def filled(table: str, draw: random.Random) -> dict[str, Any]:
    """The columns beside the key."""
    kind = TABLES[table]
    row = {
        field.name: value(field.name, field.type, draw)
        for field in kind.schema
        if field.name not in kind.key
    }
    if "activations" in row and table == "input_scores":
        row["activations"] = [
            {"draw": n, "side": side, "activation": draw.random(), "token": "x"}
            for n in range(3)
            for side in ("activating", "neutral")
            for _ in range(5)
        ]
    return row


def value(name: str, kind: pa.DataType, draw: random.Random) -> Any:
    """Something of this type, as long as a run's own."""
    if name == "status":
        return "ok"
    if name == "method":
        return draw.choice(METHODS)
    if pa.types.is_struct(kind):
        return {field.name: value(field.name, field.type, draw) for field in kind}
    if pa.types.is_list(kind):
        return [value("", kind.value_type, draw) for _ in range(LENGTHS.get(name, 5))]
    if pa.types.is_string(kind):
        return draw.choice(WORDS) if name in ("", "text", "token") else text(draw, 18)
    if pa.types.is_boolean(kind):
        return False
    return draw.random() if pa.types.is_floating(kind) else draw.randrange(1, 20)


def label(latent: int, draw: random.Random) -> dict[str, Any]:
    """A row of `labels` with every score and its interval."""
    row = {"latent": latent} | filled("labels", draw)
    for name in ("detection_auroc", "fuzzing_auroc", "output_win_rate", "unseen_win_rate"):
        row[f"{name}_low"], row[f"{name}_high"] = 0.7 * row[name], 0.7 * row[name] + 0.3
    row["input_auroc"] = draw.randrange(226) / 225
    row["density"] = 10 ** draw.uniform(-6, -1)
    return row | {"chosen": True, "origin_run": None, "repeated": [], "name": text(draw, 4)}


def text(draw: random.Random, num_words: int) -> str:
    """Words in a row."""
    return "".join(draw.choices(WORDS, k=num_words)).strip()


if __name__ == "__main__":
    main()
