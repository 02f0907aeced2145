"""SAEs, loaded by SAELens: what a latent reads and where it writes.

A latent's direction is its decoder row. Of an SAE that normalises its input token by token that row
is as long as the token's norm says; of one that writes to the heads' outputs it goes through the
attention's output projection. A transcoder reads at one hook point and writes at another; of an SAE
the two are one. A cross-layer transcoder writes at several places, with a decoder row for each
(cross_layer.py), all into the residual stream: where closed forms take one direction of a latent,
it is their sum.

Weights are float32 whatever the subject's dtype (float64 with one of float64), and what is read is
widened to them: bfloat16 moves a threshold by up to 0.4 % and pre-activations by more, so that
other latents fire. What a clamp adds is computed in float32 too, and rounded once, where it is
written. On a GPU that costs an encoder product without tensor cores, as PyTorch leaves TF32 off: by
its data sheet an H200 does 67 TFLOP/s in float32 and 989 in bfloat16.
"""

# X any leading dimensions, L d_sae, D d_model, Z width of what is written: D, or the heads' outputs
# B latents asked, S write points

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.methods.max_act import ActiveEntries
from ray_autointerp.models.attention_output import AttentionOutput
from ray_autointerp.models.random_weights import randomize, require_top_k
from ray_autointerp.models.sae_card import NORMALIZED_BY_TOKEN, SaeCard, points
from ray_autointerp.models.sae_source import load_weights
from ray_autointerp.models.sparse_encode import encode_sparse

if TYPE_CHECKING:
    from ray_autointerp.models.subject import Subject


def weights_dtype(subject_dtype: str) -> str:
    """Of an SAE's weights beside a subject: the subject's, but float32 at least."""
    return "float64" if subject_dtype == "float64" else "float32"


class Sae:
    """A loaded SAE. Inference only."""

    def __init__(
        self,
        sae: Any,
        hook_point: str,
        read_point: str,
        card: SaeCard | None = None,
        *,
        later_points: Sequence[str] = (),
        decoders_LSZ: Tensor | None = None,
    ) -> None:
        self._card = card
        self._sae = sae.eval().requires_grad_(False)
        self.hook_point = hook_point
        """Where latents write; of several places the lowest."""
        self.later_points = tuple(later_points)
        """The other hook points that a cross-layer transcoder's latents write to, lowest first."""
        self._decoders_LSZ = decoders_LSZ if self.later_points else None
        self.read_point = read_point
        """Where activations are encoded from."""
        self._output: AttentionOutput | None = None
        self._probe_NZ: Tensor | None = None

    @classmethod
    def load(
        cls,
        path: str | None,
        *,
        release: str | None = None,
        sae_id: str | None = None,
        layer: int | None = None,
        hook_point: str | None = None,
        read_point: str | None = None,
        device: torch.device | str = "cpu",
        dtype: str = "float32",
        random_seed: int | None = None,
    ) -> "Sae":
        """From a folder, of a cross-layer transcoder's a `layer`, or SAELens' registry. Raises
        SaeError.

        `hook_point` and `read_point` override the metadata. `dtype` is the subject's. With a
        `random_seed` only shapes, k and norms are the files' (random_weights.py).
        """
        loaded = load_weights(
            path, release, sae_id, layer, device=device, dtype=weights_dtype(dtype)
        )
        card, sae = loaded.card, loaded.sae
        if card.reads_without_mean:
            _center_input(sae)
        if random_seed is not None:
            require_top_k(card.source, card.architecture)
            randomize(sae, random_seed)
            card = replace(card, reconstructs=False)
        write, read = points(card, hook_point, read_point)
        if write is None or read is None:
            raise SaeError(f"The SAE {card.source} names no hook point; give one.")
        if getattr(sae.cfg, "reshape_activations", "none") == "hook_z":
            sae.turn_off_forward_pass_hook_z_reshaping()  # the heads come side by side here
        return cls(
            sae,
            write,
            read,
            card,
            later_points=card.later_points,
            decoders_LSZ=loaded.decoders_LSZ,
        )

    def bound_to(self, subject: "Subject") -> "Sae":
        """The same SAE, which then knows what the subject makes of what it writes; needed where it
        `needs_subject`.
        """
        self._output = subject.attention_output(self.hook_point)
        if self.needs_subject:
            self._probe_NZ = subject.probe(subject.place(self.read_point))
        return self

    @property
    def needs_subject(self) -> bool:
        """Whether what a latent adds to the residual stream depends on more than its decoder row:
        it is projected first, or as long as the token's norm says.
        """
        return self._normalization in NORMALIZED_BY_TOKEN or self._output is not None

    @cached_property
    def W_dec_LD(self) -> Tensor:
        """A latent's direction at unit activation, in residual space. Of one whose direction
        differs from token to token, its mean over the tokens of a fixed text.
        """
        rows_LZ = self.W_dec_LZ
        if self._normalization in NORMALIZED_BY_TOKEN:
            assert self._probe_NZ is not None, "bind it to its subject first"
            rows_LZ = rows_LZ * self._lengths(self._probe_NZ).mean()
        if self._output is None:
            return rows_LZ
        assert self._probe_NZ is not None
        return self._output.directions(rows_LZ, self._probe_NZ)

    @property
    def written_LX(self) -> Tensor:
        """What a latent writes to the residual stream at unit activation, at each of its write
        points: the rows side by side, [L, S x D]. Of one write point `W_dec_LD`.
        """
        return self.W_dec_LD if self._decoders_LSZ is None else self._decoders_LSZ.flatten(1)

    def decoder_rows(self, latents_B: Sequence[int] | Tensor) -> Tensor:
        """Decoder rows of some latents at each write point [B, S, Z], in the space of what is
        written; several are in the file's dtype.
        """
        index_B = latents_B if isinstance(latents_B, Tensor) else list(latents_B)
        if self._decoders_LSZ is not None:
            return self._decoders_LSZ[index_B]
        return self.W_dec_LZ[index_B][:, None]

    def added(self, change_X: Tensor, rows_XZ: Tensor, read_XZ: Tensor | None) -> Tensor:
        """What changes of activations add to the residual stream [X, D]. `rows_XZ` are the latents'
        decoder rows, and `read_XZ` what was read, needed where the SAE `needs_subject`; all are
        broadcast.
        """
        delta_XZ = change_X[..., None] * rows_XZ
        if not self.needs_subject:
            return delta_XZ
        assert read_XZ is not None, "what was read is needed"
        if self._normalization in NORMALIZED_BY_TOKEN:
            delta_XZ = delta_XZ * self._lengths(read_XZ)[..., None]
        return delta_XZ if self._output is None else self._output.change(read_XZ, delta_XZ)

    @property
    def _normalization(self) -> str:
        return str(getattr(self._sae.cfg, "normalize_activations", None) or "none")

    def _lengths(self, read_XZ: Tensor) -> Tensor:
        """How long a unit of what is decoded is, by token [X]: as SAELens undoes its normalisation,
        but for the mean, which no latent changes.
        """
        wide_XZ = read_XZ.to(torch.promote_types(read_XZ.dtype, torch.float32))
        if self._normalization == "layer_norm":
            return wide_XZ.std(dim=-1)
        return cast(Tensor, wide_XZ.norm(dim=-1) / wide_XZ.shape[-1] ** 0.5)

    @property
    def W_dec_LZ(self) -> Tensor:
        """Decoder rows, in the space of what is written; of several write points the sums."""
        rows = self._sae.W_dec
        if getattr(self._sae.cfg, "rescale_acts_by_decoder_norm", False):
            # Activations carry the decoder's norm, decoding divides by it.
            rows = rows / rows.norm(dim=-1, keepdim=True)
        return cast(Tensor, rows)

    @property
    def W_enc_DL(self) -> Tensor:
        """Encoder columns: what each latent reads, before its bias and threshold.

        In the units of `activations`; a gated SAE's are those of its gate, and a matching-pursuit
        SAE reads along its decoder.
        """
        columns = getattr(self._sae, "W_enc", None)
        if columns is None:
            return self.W_dec_LZ.T
        if getattr(self._sae.cfg, "rescale_acts_by_decoder_norm", False):
            columns = columns * self._sae.W_dec.norm(dim=-1)
        return cast(Tensor, columns)

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return int(self._sae.cfg.d_sae)

    @torch.inference_mode()
    def activations(self, h_XD: Tensor) -> Tensor:
        """Activations [..., L] of what is read, in the SAE's dtype."""
        return cast(Tensor, self._sae.encode(h_XD.to(self._sae.dtype)))

    @torch.inference_mode()
    def reconstruct(self, read_NZ: Tensor) -> tuple[Tensor, Tensor]:
        """Activations [N, L], and what the SAE makes of them [N, Z] in the space of what it
        reconstructs, a skip connection's part with it.
        """
        read_NZ = read_NZ.to(self._sae.dtype)
        acts_NL = self._sae.encode(read_NZ)
        made_NZ = self._sae.decode(acts_NL)
        skip = getattr(self._sae, "W_skip", None)
        return acts_NL, made_NZ if skip is None else made_NZ + read_NZ @ skip.T

    def target(self, written_NZ: Tensor) -> Tensor:
        """What is to be reconstructed, of the tensor where latents write."""
        if self._card is None or not self._card.reads_without_mean:
            return written_NZ
        return written_NZ - written_NZ.mean(dim=-1, keepdim=True)

    @property
    def reconstructs(self) -> bool:
        """Whether what it decodes is meant to be what it read."""
        return self._card is not None and self._card.reconstructs

    def facts(self) -> dict[str, str | int | None]:
        """Architecture, sizes, places, and what is done to the input before activations are read
        from it, which is what their units depend on.
        """
        cfg = self._sae.cfg
        return {
            "architecture": None if self._card is None else self._card.architecture,
            "d_in": int(cfg.d_in),
            "d_sae": self.d_sae,
            "read_point": self.read_point,
            "hook_point": self.hook_point,
            "normalization": self._normalization,
        }

    @property
    def expected_l0(self) -> float | None:
        """Latents active at a token, on average, by its k or its metadata."""
        return None if self._card is None else self._card.expected_l0

    def active_entries(self, h_WTD: Tensor, mask_WT: Tensor, latents: slice) -> ActiveEntries:
        """The non-zero activations of some latents where the mask is true; cost goes by those."""
        return encode_sparse(self._sae, h_WTD, mask_WT, latents)

    @torch.inference_mode()
    def activations_of(self, h_XD: Tensor, latents_B: Tensor) -> Tensor:
        """Activations [..., B] of some latents.

        The whole encoding is computed: under TopK a latent's activation depends on all others.
        """
        flat = h_XD.reshape(-1, h_XD.shape[-1])
        parts = [self.activations(chunk)[:, latents_B] for chunk in torch.split(flat, 4096)]
        return torch.cat(parts).reshape(*h_XD.shape[:-1], len(latents_B))


@torch.no_grad()
def _center_input(sae: Any) -> None:
    """Fold into the encoder that it reads h less its mean over d_model: as the subject runs with
    its weights as they are, its residual stream has one. Layer norms take it off, so that nothing
    else differs.
    """
    W_enc_DL = sae.W_enc.double()
    mean_L = W_enc_DL.mean(dim=0)
    sae.W_enc.copy_(W_enc_DL - mean_L)
    if sae.cfg.apply_b_dec_to_input:  # what is taken off the input was meant for the old encoder
        sae.b_enc.copy_(sae.b_enc.double() - sae.b_dec.double().sum() * mean_L)
