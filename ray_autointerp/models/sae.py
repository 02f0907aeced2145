"""SAEs, loaded by SAELens: what a latent reads, where it writes, and what its metadata promises.

A latent's direction must be its decoder row for the clamp's algebra to hold (h + (v - a_i)
W_dec[i]); SAEs for which it is not are refused with a sentence. Of an SAE that normalises its
input token by token that row is as long as the token's norm says; of one that writes to the heads'
outputs it goes through the attention's output projection. A transcoder reads at one hook point and
writes at another; of an SAE the two are one. A cross-layer transcoder writes at several places,
with a decoder row for each (cross_layer.py), all into the residual stream: where closed forms take
one direction of a latent, it is their sum.

Weights are float32 whatever the subject's dtype (float64 with one of float64), and what is read is
widened to them: bfloat16 moves a threshold by up to 0.4 % and pre-activations by more, so that
other latents fire. What a clamp adds is computed in float32 too, and rounded once, where it is
written. On a GPU that costs an encoder product without tensor cores, as PyTorch leaves TF32 off: by
its data sheet an H200 does 67 TFLOP/s in float32 and 989 in bfloat16.
"""

# X any leading dimensions, L d_sae, D d_model, Z width of what is written: D, or the heads' outputs
# B latents asked, S write points

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface
from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.methods.max_act import ActiveEntries
from ray_autointerp.models.attention_output import AttentionOutput
from ray_autointerp.models.cross_layer import (
    CrossLayerCheckpoint,
    RegisteredLayer,
    is_cross_layer,
)
from ray_autointerp.models.finite_weights import require_finite
from ray_autointerp.models.random_weights import randomize, require_top_k
from ray_autointerp.models.sae_checkpoint import TRAINING_ONLY, SaeCheckpoint
from ray_autointerp.models.sae_registry import releases
from ray_autointerp.models.sparse_encode import encode_sparse

if TYPE_CHECKING:
    from ray_autointerp.models.subject import Subject
    from ray_autointerp.models.subject_card import SubjectCard

_BY_TOKEN = ("layer_norm", "constant_norm_rescale")
"""Normalisations under which the length of a latent's direction differs from token to token."""

_CLAMPABLE = (
    "standard",
    "gated",
    "topk",
    "abstopk",
    "jumprelu",
    "matching_pursuit",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
    *TRAINING_ONLY,
)
"""Architectures whose latents are read from one position's vector and written along W_dec."""

_CENTERED = ("standard", "topk", "abstopk", "jumprelu")
"""Architectures whose encoder can be made to read the residual stream less its mean."""

_PROCESSING = (
    "center_unembed",
    "center_writing_weights",
    "fold_ln",
    "fold_value_biases",
    "refactor_factored_attn_matrices",
)
"""Arguments of TransformerLens' loader that reshape weights; SAELens keeps them in metadata."""


@dataclass(frozen=True)
class SaeCard:
    """The facts in an SAE's configuration; None where the metadata lacks one."""

    source: str
    d_in: int
    d_out: int
    d_sae: int
    architecture: str
    read_point: str | None
    """The hook point whose vectors are encoded."""
    hook_point: str | None
    """The hook point that latents write to: the same, but for transcoders."""
    is_transcoder: bool
    """Whether it reads at one place and writes at another."""
    context_size: int | None
    prepend_bos: bool | None
    exclude_special_tokens: bool | tuple[int, ...] | None
    """Whether (or which) special tokens were left out of training."""
    digest: str
    is_centered: bool = False
    """Whether it was trained on the residual stream less its mean over d_model (TransformerLens'
    center_writing_weights)."""
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    """How the subject was loaded for training, without TransformerLens' own arguments."""
    expected_l0: float | None = None
    """Latents active at a token, on average, by its k or its metadata."""
    reconstructs: bool = True
    """Whether what it decodes is meant to be what it read: not where a skip connection is left out,
    nor with random weights, nor of a layer of a cross-layer transcoder, whose reconstruction takes
    the latents of all layers."""
    later_points: tuple[str, ...] = ()
    """Of a cross-layer transcoder, the hook points above `hook_point` that latents write to, lowest
    first."""
    decoder_bytes: int = 0
    """Of decoders that are kept by layer, beside the sum."""

    @property
    def reads_without_mean(self) -> bool:
        """Whether the mean over d_model is to be taken off what it reads. Heads' outputs are the
        same whether the weights that write to the stream are centred or not.
        """
        is_of_heads = str(self.read_point).endswith(("attn.hook_z", "o.hook_in", "proj.input"))
        return self.is_centered and not is_of_heads

    def require_norm(self, norm_kind: str) -> None:
        """Raises SaeError where it was trained without a mean that the subject's norms read."""
        if self.is_centered and norm_kind != "layer":
            raise SaeError(
                f"The SAE {self.source} was trained with center_writing_weights, on a residual "
                "stream without its mean; only layer norms ignore that, and the subject has others."
            )

    def require_fits(self, subject: "SubjectCard", hook_point: str, read_point: str) -> None:
        """Raises SaeError, naming both shapes, unless the SAE has the widths of where it reads and
        writes; SubjectError where the subject has no such places.
        """
        for does, width, point in (
            ("reads", self.d_in, read_point),
            ("writes", self.d_out, hook_point),
        ):
            subject_has = subject.width(subject.blocks.read_place(point))
            if width != subject_has:
                raise SaeError(
                    f"The SAE {self.source} {does} vectors of {width}, the subject has "
                    f"{subject_has} at {point}: it was trained on another model."
                )
        last = subject.num_layers - 1
        if self.later_points and int(self.later_points[-1].split(".")[1]) > last:
            raise SaeError(
                f"The SAE {self.source} writes up to {self.later_points[-1]}, and the subject's "
                f"last block is {last}: it was trained on another model."
            )


def check_card(
    path: str | None,
    *,
    release: str | None = None,
    sae_id: str | None = None,
    layer: int | None = None,
    fetch: bool = True,
) -> SaeCard:
    """Read an SAE's configuration, and refuse what cannot be clamped or is not finite.

    Of a folder's weights a chunk is in memory at a time. A registry name is resolved (and
    fetched) by SAELens; without `fetch` its configuration alone is. `layer` is that of a
    cross-layer transcoder's folder. Raises SaeError.
    """
    if path is None and not fetch:
        return _registry_card(release, sae_id, _registry_config(release, sae_id))
    checkpoint = _checkpoint(path, release, sae_id, layer)
    if checkpoint is None:
        sae = _from_registry(release, sae_id, "cpu", "float32")
        card = _registry_card(release, sae_id, sae.cfg.to_dict())
        require_finite(card.source, sae.state_dict())
        return card
    card = _card_of(path, release, sae_id, checkpoint)
    checkpoint.require_finite()
    return card


_Checkpoint = SaeCheckpoint | CrossLayerCheckpoint


def _checkpoint(
    path: str | None, release: str | None, sae_id: str | None, layer: int | None
) -> _Checkpoint | None:
    """A folder, or what is fetched into one; None of a registry's SAE that SAELens reads."""
    if path is None:
        registered = RegisteredLayer.named(release, sae_id)
        try:
            return None if registered is None else registered.fetched()
        except OSError as error:
            raise _not_loaded(release, sae_id, error) from error
    if is_cross_layer(path):
        return CrossLayerCheckpoint.read(path, layer)
    if layer is not None:
        raise SaeError(
            f"There is no cross-layer transcoder in {path}, and its [[sae]] sets layer = {layer}: "
            "leave `layer` out."
        )
    return SaeCheckpoint.read(path)


def _card_of(
    path: str | None, release: str | None, sae_id: str | None, checkpoint: _Checkpoint
) -> SaeCard:
    config = checkpoint.config
    if path is None:
        return _registry_card(release, sae_id, config)
    if isinstance(checkpoint, CrossLayerCheckpoint):
        return card_of_config(checkpoint.source, config, checkpoint.digest())
    if checkpoint.is_unscaled and checkpoint.scale is not None:
        config = {**config, "normalize_activations": "none"}  # folded when it is loaded
    return card_of_config(path, config, checkpoint.digest())


def _registry_card(release: str | None, sae_id: str | None, config: dict[str, Any]) -> SaeCard:
    """Its digest is its name; of a cross-layer transcoder with a mark, as tables that were made
    with its summed decoders are others.
    """
    source = f"{release}/{sae_id}"
    mark = "@decoders by layer" if config.get("is_cross_layer") else ""
    return card_of_config(source, _with_l0(config, release, sae_id), source + mark)


def card_of_config(source: str, config: dict[str, Any], digest: str) -> SaeCard:
    """The facts of a configuration in SAELens' words. Raises SaeError where such an SAE cannot be
    clamped.
    """
    architecture = config.get("architecture", "standard")
    normalization = config.get("normalize_activations") or "none"
    if architecture not in _CLAMPABLE:
        raise SaeError(
            f"The SAE {source} is of architecture `{architecture}`, which cannot be clamped along "
            f"its decoder; supported are {', '.join(_CLAMPABLE)}."
        )
    if normalization not in ("none", *_BY_TOKEN):
        raise SaeError(
            f"The SAE {source} expects activations scaled by `{normalization}`, and the scale is "
            "not stored with it: fold it into the weights and save the SAE again."
        )
    d_out = config.get("d_out") or config["d_in"]
    metadata = {**config, **(config.get("metadata") or {})}
    model_kwargs = dict(metadata.get("model_from_pretrained_kwargs") or {})
    is_centered = bool(model_kwargs.get("center_writing_weights"))
    if is_centered and architecture not in _CENTERED:
        raise SaeError(
            f"The SAE {source} was trained with center_writing_weights, on a residual stream "
            f"without its mean, which an SAE of architecture `{architecture}` cannot be read from "
            "here: the subject runs with its weights as they are."
        )
    excluded = metadata.get("exclude_special_tokens")
    read = _read_point(metadata)
    write = metadata.get("hook_name_out") or read
    is_transcoder = "transcode" in architecture or bool(config.get("transcode")) or write != read
    if is_transcoder and normalization in _BY_TOKEN:
        raise SaeError(
            f"The transcoder {source} normalises what it reads by `{normalization}`, token by "
            "token; what it writes then has no length of its own, and cannot be clamped."
        )
    return SaeCard(
        source=source,
        d_in=config["d_in"],
        d_out=d_out,
        d_sae=config["d_sae"],
        architecture=architecture,
        read_point=read,
        hook_point=write,
        is_transcoder=is_transcoder,
        context_size=metadata.get("context_size"),
        prepend_bos=metadata.get("prepend_bos"),
        exclude_special_tokens=tuple(excluded) if isinstance(excluded, list) else excluded,
        digest=digest,
        is_centered=is_centered,
        model_kwargs={k: v for k, v in model_kwargs.items() if k not in _PROCESSING},
        expected_l0=metadata.get("l0") or metadata.get("k"),
        reconstructs=not (config.get("lacks_skip") or config.get("is_cross_layer")),
        later_points=tuple(config.get("later_points", ())),
        decoder_bytes=config.get("decoder_bytes", 0),
    )


def _read_point(metadata: dict[str, Any]) -> str | None:
    """Where the SAE reads, in TransformerLens' words."""
    name, module = metadata.get("hook_name"), str(metadata.get("hf_hook_name"))
    if module.endswith(".pre_feedforward_layernorm.output"):
        # SAELens calls this hook_mlp_in, which in TransformerLens lies before that norm.
        return str(name).replace("hook_mlp_in", "ln2.hook_out")
    return name


def points(
    card: SaeCard, hook_point: str | None, read_point: str | None
) -> tuple[str | None, str | None]:
    """Where latents write and read: as given, else by the metadata.

    An SAE that was moved to another hook point reads there too; a transcoder does not. Raises
    SaeError for a transcoder of which only one of the two is known, and for a cross-layer one that
    was moved.
    """
    write = hook_point or card.hook_point
    read = read_point or (card.read_point if card.is_transcoder else write)
    if card.later_points and write != card.hook_point:
        raise SaeError(
            f"The SAE {card.source} is a cross-layer transcoder, which writes from "
            f"{card.hook_point} on: leave hook_point out of its [[sae]]."
        )
    if card.is_transcoder and read == write:
        raise SaeError(
            f"The SAE {card.source} is a transcoder, and its metadata does not say both where it "
            "reads and where it writes: set read_point and hook_point in its [[sae]]."
        )
    return write, read


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
        """From a folder (see sae_checkpoint.py and, for a `layer`, cross_layer.py), or SAELens'
        registry. Raises SaeError.

        `hook_point` and `read_point` override the metadata. `dtype` is the subject's. With a
        `random_seed` only shapes, k and norms are the files' (random_weights.py).
        """
        dtype = weights_dtype(dtype)
        checkpoint = _checkpoint(path, release, sae_id, layer)
        decoders_LSZ = None
        if checkpoint is None:
            sae = _from_registry(release, sae_id, device, dtype)
            card = _registry_card(release, sae_id, sae.cfg.to_dict())
        else:
            card = _card_of(path, release, sae_id, checkpoint)
            if isinstance(checkpoint, CrossLayerCheckpoint):
                decoders_LSZ = checkpoint.decoders(device)
                sae = checkpoint.load(decoders_LSZ, dtype)
            else:
                sae = checkpoint.load(device, dtype)
        # Here too: the files may differ from those that were checked when the run began.
        require_finite(card.source, sae.state_dict())
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
            decoders_LSZ=decoders_LSZ,
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
        return self._normalization in _BY_TOKEN or self._output is not None

    @cached_property
    def W_dec_LD(self) -> Tensor:
        """A latent's direction at unit activation, in residual space. Of one whose direction
        differs from token to token, its mean over the tokens of a fixed text.
        """
        rows_LZ = self.W_dec_LZ
        if self._normalization in _BY_TOKEN:
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
        if self._normalization in _BY_TOKEN:
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


def _with_l0(config: dict[str, Any], release: str | None, sae_id: str | None) -> dict[str, Any]:
    """With the number of active latents that the registry gives, if it does."""
    known = releases().get(str(release))
    l0 = None if known is None else known.l0.get(str(sae_id))
    return config if l0 is None else {**config, "l0": l0}


def _registry_config(release: str | None, sae_id: str | None) -> dict[str, Any]:
    """The configuration that SAELens finds for a name, some in its package, the rest on the hub."""
    try:
        if (registered := RegisteredLayer.named(release, sae_id)) is not None:
            return registered.config()
        config: dict[str, Any] = load_sae_config_from_huggingface(str(release), str(sae_id))
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(release, sae_id, error) from error
    if get_norm_scaling_factor(str(release), str(sae_id)) is not None:
        config = {**config, "normalize_activations": "none"}  # folded when it is loaded
    return config


def _not_loaded(release: str | None, sae_id: str | None, error: Exception) -> SaeError:
    same = [name for name, known in releases().items() if known.repository == release]
    advice = f"; the releases of that repository are {', '.join(same)}" if same else ""
    return SaeError(f"SAELens cannot load {release}/{sae_id}: {str(error).splitlines()[0]}{advice}")


def _from_registry(
    release: str | None, sae_id: str | None, device: torch.device | str, dtype: str
) -> Any:
    try:
        return SAE.from_pretrained(str(release), str(sae_id), device=str(device), dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(release, sae_id, error) from error
