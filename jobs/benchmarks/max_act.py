"""The MaxAct pass against the bare forward pass with the SAE's encoder product alone.

    .venv/bin/python jobs/benchmarks/max_act.py [--rounds 5] [--tokens 16384]

Both sides run the subject to the hook point on the same windows of the demo's corpus. The bare
side multiplies by the encoder and stops; ours takes the top k, keeps examples of every strength,
firing statistics and the window sample, and writes its tables. Prints one JSON line.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from race import machine, race, report

from ray_autointerp.config_file import read_config
from ray_autointerp.passes.padded_windows import padded_windows
from ray_autointerp.preflight.check import check
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import open_run
from ray_autointerp.stages import corpus, max_act

DEMO = Path(__file__).parents[1] / "demo" / "demo.toml"


def main() -> None:
    """The race on one token shard."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16_384)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        config = read_config(DEMO)
        tokens = {"num_tokens": asked.tokens, "tokens_per_shard": asked.tokens}
        config = config.model_copy(
            update={
                "run": config.run.model_copy(update={"root": root}),
                "corpus": config.corpus.model_copy(update=tokens),
                "evidence": config.evidence.model_copy(update={"num_top_examples": 100}),
            }
        )
        checked = check(config)
        run = open_run(checked.config, checked.axes, checked.inputs, checked.micro_batch)
        context = WorkerContext(run)
        corpus.run(Task("corpus", None, None, 0, 1), context)
        (sae_id,) = run.saes
        subject, sae = context.subject, context.sae(sae_id)
        site, size = subject.site(sae.hook_point), run.config.operations.micro_batch
        rows = context.tables.read("tokens", None).to_pylist()
        rows.sort(key=lambda row: (-len(row["token_ids"]), row["window"]))
        number = iter(range(1_000_000))

        @torch.inference_mode()
        def bare() -> None:
            for start in range(0, len(rows), size):
                tokens_WT, _ = padded_windows(rows[start : start + size], context)
                h_WTD = subject.residual(tokens_WT, site)
                h_WTD.flatten(0, 1) @ sae.W_enc_DL

        def ours() -> None:
            # Another task each time: an object that is there is not written again.
            store = Path(root) / config.run.name / "sae"
            if store.exists():
                store.rename(Path(root) / f"done-{next(number)}")
            max_act.run(Task("max_act", None, None, 0, 1), context)

        times = race({"bare": bare, "ours": ours}, asked.rounds)
        counted = sum(len(row["token_ids"]) for row in rows)
        report(
            race="MaxAct pass against bare forward and encoder product",
            machine=machine(),
            tokens=counted,
            bare=times["bare"],
            ours=times["ours"],
            tokens_per_second=counted / times["ours"].median,
            ratio=times["bare"].median / times["ours"].median,
        )


if __name__ == "__main__":
    main()
