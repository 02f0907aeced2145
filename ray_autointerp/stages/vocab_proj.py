"""vocab_proj: promoted and suppressed tokens of every latent, dead ones too; no forward pass."""

from ray_autointerp.methods.input_map import unit_embeddings
from ray_autointerp.methods.vocab_proj import embedding_reads, vocab_proj
from ray_autointerp.passes.hub_stats import read_hub_stats
from ray_autointerp.passes.read_rows import read_rows
from ray_autointerp.passes.token_entries import token_entries
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `vocab_proj`."""
    assert task.sae is not None
    subject, sae, evidence = context.subject, context.sae(task.sae), context.run.config.evidence
    latents = context.tables.latents(task)
    lists = vocab_proj(
        sae.W_dec_LD[latents.start : latents.stop],
        subject.final_norm,
        subject.W_U_DV,
        evidence.num_vocab_tokens,
        b_U_V=subject.b_U_V,
        hub=read_hub_stats(context.tables, task.sae, "lens"),
        rank_by=evidence.vocab_rank_by,
    )
    reads = embedding_reads(
        read_rows(context, task.sae, slice(latents.start, latents.stop)),
        unit_embeddings(subject.W_E_VD),
        evidence.num_read_tokens,
        read_hub_stats(context.tables, task.sae, "reads"),
    )
    columns = {
        "promoted": lists.promoted,
        "suppressed": lists.suppressed,
        "reads": reads.promoted,
        "reads_against": reads.suppressed,
    }
    entries = {name: token_entries(of, context.tokenizer) for name, of in columns.items()}
    context.write(
        task,
        "vocab_proj",
        [
            {"latent": latent, "status": "ok", **{name: of[i] for name, of in entries.items()}}
            for i, latent in enumerate(latents)
        ],
    )
