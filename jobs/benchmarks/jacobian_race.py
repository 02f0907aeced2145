"""Linear maps through a subject, on both sides of its latents, judged on documents they never saw.

    python jobs/benchmarks/jacobian_race.py runs/demo --side input
    python jobs/benchmarks/jacobian_race.py runs/demo --side output --windows 8

of a run that was labelled. Input side: of the tokens that held-out top examples peak on, the share
among the first 20 that a map names; of all, of those that the latent's explain side never showed,
and of those that no text behind the maps held. Output side: top-20 overlap and Spearman with exact
TokenChange on held-out windows, at the latent's maximum and at 2.4 times it.

The peers: encoder x embedding, VocabProj (no layer between), the Jacobian lens as TransformerLens
reads it (to the state before the final norm, W_U norm(J d)), and Query Lens' transports (decoder
rows through that Jacobian, encoder columns through the one from the embeddings). Equal windows;
`passes` counts tokens sent forwards or backwards through some layers. Not a race of seconds.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ray_autointerp.methods.agreement import agreement, reference
from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.input_map import Moments, fit_input_map, unit_embeddings
from ray_autointerp.methods.jacobian import linear_change
from ray_autointerp.methods.vocab_proj import apply_norm, mean_norm_jacobian, project
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.hook_point import watch
from ray_autointerp.models.subject import Subject
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.passes.exact_sums import exact_sums
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import load_run

NUM_READ = 20
STRENGTHS = (1.0, 2.4)


def swept(
    run: Callable[[Tensor], Tensor], h_WTD: Tensor, mask_WT: Tensor, width: int
) -> list[Tensor]:
    """Mean over counted positions of the derivative of each coordinate of what `run` makes."""
    rows = []
    with torch.inference_mode(False), torch.enable_grad():
        leaf_WTD = h_WTD.clone().requires_grad_()
        counted_WT1 = mask_WT[..., None].float().clone()
        total_K = (run(leaf_WTD).float() * counted_WT1).sum((0, 1))
        for direction in range(width):
            (gradient_WTD,) = torch.autograd.grad(total_K[direction], leaf_WTD, retain_graph=True)
            rows.append((gradient_WTD.float() * counted_WT1).sum((0, 1)) / counted_WT1.sum())
    return rows


def input_jacobian(subject: Subject, read_point: str, windows_WT: Tensor) -> Tensor:
    """From the states below the first layer to what is read, [K, D]."""
    place = subject.place(read_point)
    site = place if isinstance(place, int) else place.layer
    seen = subject.residuals(windows_WT, [0, place, site])
    mask_WT = position_mask(subject, windows_WT, seen[site], site)

    def run(leaf_WTD: Tensor) -> Tensor:
        read: list[Tensor] = []
        handle = watch(subject._parts, place, read.append)
        try:
            subject.resume_with_gradients(leaf_WTD, 0)
        finally:
            handle.remove()
        return read[-1]  # the first may be of a pass that only learns the layers' arguments

    return torch.stack(swept(run, seen[0], mask_WT, seen[place].shape[-1]))


def regression(
    subject: Subject, read_point: str, windows_WT: Tensor, batch: int
) -> tuple[Tensor, float]:
    """The input map of those windows, and its penalty."""
    place, rows_VD = subject.place(read_point), unit_embeddings(subject.W_E_VD)
    site = place if isinstance(place, int) else place.layer
    halves, length = [], 0.0
    for half_HT in (windows_WT[::2], windows_WT[1::2]):
        parts = []
        for ids_RT in half_HT.split(batch):
            seen = subject.residuals(ids_RT, [0, place, site])
            mask_RT = position_mask(subject, ids_RT, seen[site], site)
            parts.append(Moments.of(rows_VD[ids_RT[mask_RT]], seen[place][mask_RT]))
            length += float(seen[0][mask_RT].norm(dim=-1).sum())
        halves.append(sum(parts[1:], parts[0]))
    direct = length / (halves[0].count + halves[1].count) if place == site else 0.0
    found = fit_input_map(halves, direct)
    return found.map_KD, found.ridge


def peaks(context: WorkerContext, sae: str, split: str) -> Mapping[int, Counter[int]]:
    """By latent, the tokens that its top examples of a side peak on."""
    found: dict[int, Counter[int]] = defaultdict(Counter)
    for row in context.tables.read("top_examples", sae).to_pylist():
        for example in (row["examples"] or ()) if row["split"] == split else ():
            found[row["latent"]][example["token_ids"][example["peak"]]] += 1
    return found


def named(
    rows_LD: Tensor, embeddings_VD: Tensor, is_z: bool, latents: Sequence[int]
) -> dict[int, list[int]]:
    """By latent its first tokens, more than are judged: some are left out there."""
    stats, ranked = hub_stats(rows_LD, embeddings_VD.T), {}
    for some in (latents[i : i + 128] for i in range(0, len(latents), 128)):
        read_BV = rows_LD[some] @ embeddings_VD.T
        if is_z:
            read_BV = (read_BV - stats.mean_V) / stats.sd_V.clamp_min(1e-9)
        ranked |= dict(zip(some, read_BV.topk(500).indices.tolist(), strict=True))
    return ranked


def share(
    ranked: Mapping[int, list[int]],
    held_out: Mapping[int, Counter[int]],
    left_out: Callable[[int], set[int]],
) -> float:
    """Mean over latents of the share of their held-out firings, but on tokens that are left out."""
    shares = []
    for latent, tokens in ranked.items():
        without = left_out(latent)
        counts = {t: n for t, n in held_out[latent].items() if t not in without}
        if counts:
            first = {*[t for t in tokens if t not in without][:NUM_READ]}
            shares.append(sum(n for t, n in counts.items() if t in first) / sum(counts.values()))
    return sum(shares) / len(shares)


def input_side(context: WorkerContext, sae_id: str, asked: argparse.Namespace) -> Table:
    """A row per map from the encoder to the vocabulary."""
    subject, tables = context.subject, context.tables
    read_point, encoder_LD = context.run.axes.read_points[sae_id], context.sae(sae_id).W_enc_DL.T
    shown, held_out = (peaks(context, sae_id, split) for split in ("explain", "score"))
    latents = [i for i, found in sorted(held_out.items()) if found.total() >= 10]
    latents = latents[:: max(1, len(latents) // asked.latents)]
    all_windows_WT = change_windows(tables, "explain", asked.regression_windows)
    known = {*all_windows_WT.flatten().tolist()}
    raw_VD, unit_VD = subject.W_E_VD.float(), unit_embeddings(subject.W_E_VD)
    table = Table("map", "rank by", "passes", "all", "not shown", "in no text")

    def row(name: str, rows_LD: Tensor, by: str, passes: int) -> None:
        embeddings_VD = unit_VD if by == "unit" else raw_VD
        ranked = named(rows_LD, embeddings_VD, by == "z", latents)
        left_out = (lambda _: set(), lambda i: {*shown[i]}, lambda i: {*shown[i]} | known)
        scores = [f"{share(ranked, held_out, one):.3f}" for one in left_out]
        table.add_row(name, by, f"{passes:,}", *scores)

    for by in ("logit", "unit", "z"):
        row("encoder x embedding", encoder_LD, by, 0)
    windows_WT = all_windows_WT[: asked.windows]
    jacobian_KD = input_jacobian(subject, read_point, windows_WT)
    for by in ("logit", "unit", "z"):
        passes = windows_WT.numel() * len(jacobian_KD)
        row(f"Jacobian, {len(windows_WT)} windows", encoder_LD @ jacobian_KD, by, passes)
    for count in sorted({asked.windows, 32, len(all_windows_WT)}):
        map_KD, ridge = regression(subject, read_point, all_windows_WT[:count], asked.batch)
        for by in ("unit", "z"):
            name = f"input map, {count} windows, penalty {ridge:g}"
            row(name, encoder_LD @ map_KD, by, all_windows_WT[:count].numel())
    table.title = f"{len(latents)} latents, {len(known):,} distinct tokens behind the maps"
    return table


def output_side(context: WorkerContext, sae_id: str, asked: argparse.Namespace) -> Table:
    """A row per map from the decoder to the vocabulary."""
    subject, tables, sae = context.subject, context.tables, context.sae(sae_id)
    site = subject.site(context.run.axes.hook_points[sae_id])
    stats = {row["latent"]: row for row in tables.read("latent_stats", sae_id).to_pylist()}
    alive = [i for i, row in stats.items() if row["max_activation"]]
    latents = alive[:: max(1, len(alive) // asked.latents)][: asked.latents]
    maximum_B = torch.tensor([stats[i]["max_activation"] for i in latents])
    windows_WT = change_windows(tables, "explain", asked.windows)
    h_WTD = subject.residual(windows_WT, site)
    mask_WT = position_mask(subject, windows_WT, h_WTD, site)
    last: list[Tensor] = []

    def run(leaf_WTD: Tensor) -> Tensor:
        handle = subject._parts.norm.register_forward_pre_hook(
            lambda _module, given: last.append(given[0])
        )
        try:
            normed_WTD = subject.resume_with_gradients(leaf_WTD, site)
        finally:
            handle.remove()
        return torch.cat([last[-1], normed_WTD], -1)

    width = subject.card.d_model
    both = torch.stack(swept(run, h_WTD, mask_WT, 2 * width))
    lens_DD, own_DD = both[:width], both[width:]
    norm_DD = mean_norm_jacobian(last[-1].detach()[mask_WT], subject.final_norm)
    rows_BD, W_U_DV = sae.W_dec_LD[latents].float(), subject.W_U_DV.float()
    encoder_BD = sae.W_enc_DL.T[latents].float()
    estimates = {
        "VocabProj": project(rows_BD, subject.final_norm, W_U_DV),
        "Jacobian lens, W_U norm(J d)": apply_norm(rows_BD @ lens_DD.T, subject.final_norm)
        @ W_U_DV,
        "Jacobian lens x the norm's mean derivative": rows_BD @ (norm_DD @ lens_DD).T @ W_U_DV,
        "JacobianProj": linear_change(rows_BD, own_DD) @ W_U_DV,
    }
    if encoder_BD.shape[1] == width:
        estimates["encoder through the lens (Query Lens)"] = (
            apply_norm(encoder_BD @ lens_DD.T, subject.final_norm) @ W_U_DV
        )
    table = Table("map", *[f"{name} at {s:g} x" for s in STRENGTHS for name in ("overlap", "rank")])
    cells: dict[str, list[str]] = defaultdict(list)
    for strength in STRENGTHS:
        held_out_MT = change_windows(tables, "score", asked.held_out)
        exact = exact_sums(context, sae_id, latents, strength * maximum_B, held_out_MT)
        truth = reference(exact.mean_BD @ W_U_DV)
        half = len(held_out_MT) // 2
        halves = [
            exact.sums_BWD[:, part].sum(1) @ W_U_DV for part in (slice(0, half), slice(half, None))
        ]
        found = {
            **{name: agreement(estimate, truth) for name, estimate in estimates.items()},
            "exact, halves": agreement(halves[0], reference(halves[1])),
        }
        for name, one in found.items():
            cells[name] += [f"{one.overlap_B.mean():.3f}", f"{one.spearman_B.mean():.3f}"]
    for name, values in cells.items():
        table.add_row(name, *values)
    table.title = f"{len(latents)} latents, maps of {len(windows_WT)} windows"
    return table


def main() -> None:
    """Print the table of one side for every SAE of the run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--side", choices=("input", "output"), required=True)
    parser.add_argument("--windows", type=int, default=4, help="behind each Jacobian")
    parser.add_argument("--regression-windows", type=int, default=1024)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--latents", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    asked = parser.parse_args()
    run = load_run(asked.run)
    context = WorkerContext(run)
    side = input_side if asked.side == "input" else output_side
    for sae in run.saes:
        Console(width=120).print(side(context, sae, asked))


if __name__ == "__main__":
    main()
