"""The facts in an SAE's configuration: its widths, where it reads and writes, how it was trained.

A latent's direction must be its decoder row for the clamp's algebra to hold (h + (v - a_i)
W_dec[i]); SAEs for which it is not are refused with a sentence.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ray_autointerp.errors import SaeError
from ray_autointerp.models.sae_checkpoint import TRAINING_ONLY

if TYPE_CHECKING:
    from ray_autointerp.models.subject_card import SubjectCard

NORMALIZED_BY_TOKEN = ("layer_norm", "constant_norm_rescale")
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
    if normalization not in ("none", *NORMALIZED_BY_TOKEN):
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
    if is_transcoder and normalization in NORMALIZED_BY_TOKEN:
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
