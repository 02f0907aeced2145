"""Clamped passes: the subject's outputs when one latent is set to a value.

The clean residual stream is computed once per set of windows and shared by all latents; a clamp
with the error term kept is h + (v - a_i(h)) W_dec[i], no decode; only the layers above the hook
run; states are averaged after the final norm and before the unembedding (methods 9.1-9.4). Of a
cross-layer transcoder the same change goes along a row for each write site, as the pass comes by.
BOS and attention sinks are never clamped and never counted.
"""

# W windows, T positions, D d_model, V vocabulary, L latents asked, B rows = (latent, value) pairs

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ray_autointerp.methods.clamp import activation_change, clamp
from ray_autointerp.methods.confidence import token_confidence
from ray_autointerp.methods.kl import kl_divergence, mean_kl
from ray_autointerp.methods.token_change import normed_diff_sums
from ray_autointerp.models.halving import is_out_of_memory
from ray_autointerp.models.hook_point import Site
from ray_autointerp.models.later_writes import LaterWrites, Moved
from ray_autointerp.models.prefix import Prefix, joined_prefixes
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject


@dataclass(frozen=True)
class CleanRun:
    """The unclamped pass over some windows of equal length, shared by every latent."""

    site: Site
    h_WTD: Tensor
    """Residual stream where the latents write; where a cross-layer transcoder's write first."""
    normed_WTD: Tensor
    """Final normed states."""
    mask_WT: Tensor
    """Where clamping may happen and states are counted: no BOS, no special token, no sink."""
    acts_WTL: Tensor
    """Activations of the latents asked about, wherever they read."""
    latents: tuple[int, ...]
    prefix: Prefix | None = None
    """Keys and values of the clean windows, where asked for."""
    read_WTZ: Tensor | None = None
    """What the latents read, where what they add depends on it."""
    later_sites: tuple[Site, ...] = ()
    """Where a cross-layer transcoder's latents write as well, lowest first."""

    @property
    def num_positions(self) -> int:
        """Positions counted."""
        return int(self.mask_WT.sum())

    @property
    def counts_W(self) -> Tensor:
        """Positions counted of each window."""
        return self.mask_WT.sum(1)

    def masked(self, keep_WT: Tensor) -> "CleanRun":
        """Counting only what the mask keeps: padded windows have positions that are no text."""
        return replace(self, mask_WT=self.mask_WT & keep_WT)

    def windows(self, start: int, stop: int) -> "CleanRun":
        """Some of the windows, without their keys."""
        return replace(
            self,
            h_WTD=self.h_WTD[start:stop],
            normed_WTD=self.normed_WTD[start:stop],
            mask_WT=self.mask_WT[start:stop],
            acts_WTL=self.acts_WTL[start:stop],
            prefix=None,
            read_WTZ=None if self.read_WTZ is None else self.read_WTZ[start:stop],
        )

    def position(self, index: int) -> "CleanRun":
        """Of every window one position, without their keys."""
        place = slice(index, index + 1 or None)
        return replace(
            self,
            h_WTD=self.h_WTD[:, place],
            normed_WTD=self.normed_WTD[:, place],
            mask_WT=self.mask_WT[:, place],
            acts_WTL=self.acts_WTL[:, place],
            prefix=None,
            read_WTZ=None if self.read_WTZ is None else self.read_WTZ[:, place],
        )


def position_mask(subject: Subject, token_ids_WT: Tensor, h_WTD: Tensor, site: Site) -> Tensor:
    """True where a latent may be read, clamped and counted.

    Not where SAELens' training would have left the token out (`corpus.exclude_special_tokens`), nor
    on a window's first token where that is or stands for BOS, nor on sinks.
    """
    ids_WT = token_ids_WT.cpu()
    is_out_WT = torch.isin(ids_WT, _ids(subject.excluded_ids))
    is_out_WT[:, 0] |= torch.isin(ids_WT[:, 0], _ids(subject.tokenizer.begin_ids))
    return torch.logical_not(is_out_WT.to(h_WTD.device) | subject.is_sink(h_WTD, site))


def _ids(token_ids: Collection[int]) -> Tensor:
    return torch.tensor(sorted(token_ids), dtype=torch.long)


def clean_run(
    subject: Subject,
    sae: Sae,
    latents: Sequence[int],
    token_ids_WT: Tensor,
    *,
    keep_keys: bool = False,
) -> CleanRun:
    """The clean pass over windows of equal length, with the latents' activations."""
    site = subject.site(sae.hook_point)
    place = subject.place(sae.read_point)

    def part(rows: slice) -> CleanRun:
        seen = subject.residuals(token_ids_WT[rows], [site, place])
        h_WTD = seen[site]
        prefix = subject.keep_keys(h_WTD, site) if keep_keys else None
        return CleanRun(
            site=site,
            h_WTD=h_WTD,
            normed_WTD=subject.resume(h_WTD, site) if prefix is None else prefix.normed_WTD,
            mask_WT=position_mask(subject, token_ids_WT[rows], h_WTD, site),
            acts_WTL=sae.activations_of(seen[place], torch.tensor(latents, device=h_WTD.device)),
            latents=tuple(latents),
            prefix=prefix,
            read_WTZ=seen[place] if sae.needs_subject else None,
            later_sites=subject.sites(sae.later_points),
        )

    num_windows = len(token_ids_WT)
    return _joined(subject.halving.run(num_windows, num_windows, part))


def _joined(parts: Sequence[CleanRun]) -> CleanRun:
    """The windows of several runs as one; of a single one itself."""
    if len(parts) == 1:
        return parts[0]
    prefixes = [part.prefix for part in parts if part.prefix is not None]
    read = [part.read_WTZ for part in parts if part.read_WTZ is not None]
    return replace(
        parts[0],
        h_WTD=torch.cat([part.h_WTD for part in parts]),
        normed_WTD=torch.cat([part.normed_WTD for part in parts]),
        mask_WT=torch.cat([part.mask_WT for part in parts]),
        acts_WTL=torch.cat([part.acts_WTL for part in parts]),
        prefix=joined_prefixes(prefixes) if prefixes else None,
        read_WTZ=torch.cat(read) if read else None,
    )


def clamped_states(
    subject: Subject, sae: Sae, clean: CleanRun, latent_B: Sequence[int], value_B: Tensor
) -> Tensor:
    """Final normed states [B, W, T, D] with latent_B[b] set to value_B[b] in row b.

    One pass over B x W windows: the caller decides how many rows go together, and that number is
    part of the run's identity, because batch shape moves the last bits of float32. The clamp is
    computed in float32 at least and rounded once to the subject's dtype.
    """
    moved = clamped_residual(sae, clean, latent_B, value_B)
    flat = subject.resume(moved.h_BTD, clean.site, moved.later)
    return flat.reshape(len(latent_B), -1, *flat.shape[1:])


def clamped_residual(sae: Sae, clean: CleanRun, latent_B: Sequence[int], value_B: Tensor) -> Moved:
    """The residual stream at the hook, and what is written above it, with latent_B[b] set to
    value_B[b] in row b; rows and windows are one, [B W].
    """
    place = {latent: i for i, latent in enumerate(clean.latents)}
    index_B = torch.tensor([place[latent] for latent in latent_B], device=clean.h_WTD.device)
    wide = torch.promote_types(clean.h_WTD.dtype, torch.float32)
    change_BWT = activation_change(
        clean.acts_WTL[..., index_B].movedim(-1, 0).to(wide),
        value_B.to(clean.h_WTD.device, wide),
        clean.mask_WT,
    )
    rows_BSZ = sae.decoder_rows(latent_B)
    rows_B11Z = rows_BSZ[:, 0].to(wide)[:, None, None]
    h_BWTD = clamp(
        clean.h_WTD.to(wide),
        change_BWT,
        lambda change_BWT: sae.added(change_BWT, rows_B11Z, clean.read_WTZ),
    ).to(clean.h_WTD.dtype)
    later = LaterWrites(
        clean.later_sites,
        change_BWT.flatten(0, 1),
        rows_BSZ[:, 1:].repeat_interleave(change_BWT.shape[1], 0),
    )
    return Moved(h_BWTD.flatten(0, 1), later)


@dataclass(frozen=True)
class Changes:
    """What clamping did to the final normed states, window by window."""

    sums_BWD: Tensor
    """Sum over the window's counted positions of clamped minus clean, float32."""
    last_BWD: Tensor
    """Clamped states at the last position, in the subject's dtype."""


def window_changes(
    subject: Subject,
    sae: Sae,
    clean: CleanRun,
    latent_B: Sequence[int],
    value_B: Tensor,
    rows_per_pass: int,
) -> Changes:
    """Every row clamped at every counted position of every window of the clean run.

    A single row that runs out of memory over all windows is done over half of them at a time.
    """

    def change(rows: slice) -> tuple[Tensor, Tensor]:
        clamped = clamped_states(subject, sae, clean, latent_B[rows], value_B[rows])
        sums_BWD = normed_diff_sums(clamped, clean.normed_WTD, clean.mask_WT)
        return sums_BWD, clamped[:, :, -1].clone()

    try:
        sums, last = zip(*subject.halving.run(len(latent_B), rows_per_pass, change), strict=True)
    except (MemoryError, RuntimeError) as error:
        num_windows = len(clean.mask_WT)
        if num_windows == 1 or not is_out_of_memory(error):
            raise
        half = num_windows // 2
        parts = [
            window_changes(subject, sae, clean.windows(*ends), latent_B, value_B, rows_per_pass)
            for ends in ((0, half), (half, num_windows))
        ]
        return Changes(
            torch.cat([part.sums_BWD for part in parts], 1),
            torch.cat([part.last_BWD for part in parts], 1),
        )
    return Changes(torch.cat(sums), torch.cat(last))


def last_position_states(
    subject: Subject,
    sae: Sae,
    clean: CleanRun,
    latent_B: Sequence[int],
    value_B: Tensor,
    rows_per_pass: int,
) -> Tensor:
    """Final normed states [B, W, D] of each window's last position, it alone clamped.

    The clean run must have kept its keys: of each window one position goes through the layers.
    """
    prefix = clean.prefix
    assert prefix is not None, "the clean run kept no keys and values"
    num_windows, num_positions = clean.mask_WT.shape
    last = clean.position(-1)

    def states(rows: slice) -> Tensor:
        moved = clamped_residual(sae, last, latent_B[rows], value_B[rows])
        windows_N = torch.arange(num_windows, device=moved.h_BTD.device)
        windows_N = windows_N.repeat(len(latent_B[rows]))
        starts_N = torch.full_like(windows_N, num_positions - 1)
        states_N1D = subject.resume_suffix(moved.h_BTD, prefix, windows_N, starts_N, moved.later)
        return states_N1D.reshape(-1, num_windows, states_N1D.shape[-1])

    return torch.cat(subject.halving.run(len(latent_B), rows_per_pass, states))


_MOST_LOGITS = {"cpu": 0, "cuda": 2**27}
"""Logits of clamped rows held at once; of one row at least."""


@dataclass(frozen=True)
class NextTokenEffects:
    """How a clamp moves next-token distributions, mean over positions, float32 [B]."""

    kl_B: Tensor
    """KL(clean || clamped) in nats."""
    delta_confidence_B: Tensor
    """Token confidence, clamped minus clean, in nats."""


def next_token_effects(subject: Subject, clean_PD: Tensor, clamped_BPD: Tensor) -> NextTokenEffects:
    """From final normed states at some positions; of some rows at a time the logits, P x V each."""
    clean_PV = subject.unembed(clean_PD)
    before = token_confidence(clean_PV).mean()
    delta: list[Tensor] = []

    def clamped() -> Iterator[Tensor]:
        # Together: a GPU reads the unembedding once for all of them.
        together = max(1, _MOST_LOGITS[clean_PV.device.type] // clean_PV.numel())
        for clamped_RPD in clamped_BPD.split(together):
            for clamped_PV in subject.unembed(clamped_RPD):
                delta.append(token_confidence(clamped_PV).mean() - before)
                yield clamped_PV

    kl_B = mean_kl(clean_PV, clamped())
    # Fetched together: a GPU would be waited for at every number.
    return NextTokenEffects(kl_B.float().cpu(), torch.stack(delta).float().cpu())


def next_token_kl(
    subject: Subject, sae: Sae, clean: CleanRun, latent_B: Sequence[int], value_B: Tensor
) -> Tensor:
    """KL(clean || clamped) [B] in nats of the token after one prompt; `clean` is one window."""
    return _kl(subject, sae, clean, latent_B, value_B, [clean.h_WTD.shape[1] - 1])[:, 0]


def all_positions_kl(
    subject: Subject, sae: Sae, clean: CleanRun, latent_B: Sequence[int], value_B: Tensor
) -> Tensor:
    """The same, mean [B] over every counted position: what the released notebook calibrated on."""
    counted = clean.mask_WT[0].nonzero()[:, 0].tolist()
    return _kl(subject, sae, clean, latent_B, value_B, counted).mean(-1)


def _kl(
    subject: Subject,
    sae: Sae,
    clean: CleanRun,
    latent_B: Sequence[int],
    value_B: Tensor,
    positions: list[int],
) -> Tensor:
    assert len(clean.h_WTD) == 1, "one prompt at a time: prompts differ in length"
    clamped_BTD = clamped_states(subject, sae, clean, latent_B, value_B)[:, 0]
    return kl_divergence(
        subject.unembed(clean.normed_WTD[0, positions]),
        subject.unembed(clamped_BTD[:, positions]),
    )
