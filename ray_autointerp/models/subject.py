"""The subject: a language model that can be stopped at a hook point and resumed from it.

Loaded by Hugging Face; hook points have the names of TransformerLens' bridge; the passes call the
Hugging Face layers directly, because the bridge cannot skip the layers below the hook (platform
notes 2, 16). A hook point of the residual stream is a *site*: the number of layers below it; what
latents read inside a block is captured on the way (hook_point.py).

A subject may be spread over several GPUs (device_map.py). What its methods are given and what they
return is on one of them, `device`, where SAEs and the unembedding are.

Windows are padded on the right: under causal attention a pad changes no earlier position, so no
pass needs an attention mask, and generation batches rows of equal length.
"""

# B rows (windows, or clamped windows), T positions, D d_model, V vocabulary

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ray_autointerp.methods.vocab_proj import FinalNorm
from ray_autointerp.models.attention_output import AttentionOutput
from ray_autointerp.models.device_map import device_of, move_inputs, moved
from ray_autointerp.models.families import Parts, first_tensor, parts_of
from ray_autointerp.models.halving import Halving
from ray_autointerp.models.hook_point import Place, Site, after_attention, change_at, watch
from ray_autointerp.models.later_writes import Change, LaterWrites
from ray_autointerp.models.load_model import load_model
from ray_autointerp.models.prefix import (
    JoinedKeys,
    KeptKeys,
    Prefix,
    named_arguments,
    suffix_arguments,
    whole_windows,
    with_cache,
)
from ray_autointerp.models.rms_norm import quicken_norms
from ray_autointerp.models.subject_card import SubjectCard, describe
from ray_autointerp.models.tokenizer import SubjectTokenizer

SINK_FACTOR = 10.0
"""A position whose residual norm exceeds this many medians is an attention sink (methods 10)."""

_PROBE_TEXT = (
    "The ferry left the harbour a little after six, when the light was still grey. Two farmers "
    "stood at the rail and spoke about the price of wool, the new bridge and the long winter; a "
    "child counted gulls aloud. Nobody noticed that the engine had changed its tune until the "
    "captain came down from the wheelhouse, wiped his hands, and asked for the mechanic by name. "
)
"""Fixed text on which the median norm is taken, so that it depends on no corpus or sharding."""


class _Stop(Exception):
    """Raised by a hook to end a pass early."""


class Subject:
    """A loaded language model with clean, stopped and resumed passes. Inference only."""

    def __init__(
        self,
        model: Any,
        tokenizer: SubjectTokenizer,
        card: SubjectCard,
        *,
        compile_layers: bool = False,
        exclude_special_tokens: bool | Sequence[int] = True,
    ) -> None:
        self.card = card
        self.tokenizer = tokenizer
        self.excluded_ids = tokenizer.excluded_ids(exclude_special_tokens)
        """Tokens on which no latent is read, clamped or counted."""
        self._model: Any = model.eval().requires_grad_(False)
        if not compile_layers:  # what is compiled needs no help, and is compiled anew for each norm
            quicken_norms(self._model)
        self._parts: Parts = parts_of(model, card.family)
        move_inputs([*self._parts.layers, self._parts.norm])
        self._layer_arguments: dict[int, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}
        self._sink_thresholds: dict[Site, float] = {}
        self.halving = Halving()
        self._run_layer = torch.compile(_run_layer) if compile_layers else _run_layer

    @classmethod
    def load(
        cls,
        model: str,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        dtype: str = "float32",
        model_kwargs: Mapping[str, Any] | None = None,
        revision: str | None = None,
        compile_layers: bool = False,
        num_gpus: int = 1,
        beside: int = 0,
        exclude_special_tokens: bool | Sequence[int] = True,
    ) -> "Subject":
        """By hub name or local directory, raw weights (no folding), eval mode.

        `compile_layers` makes `resume` faster on a GPU, once its layers are compiled. On several
        GPUs the last is left room for `beside` parameters, those of SAEs. On which tokens latents
        are not looked at, `exclude_special_tokens` says in SAELens' words.

        TransformerLens must know the architecture. Raises SubjectError.
        """
        card = describe(model, revision=revision, device=device)
        tokenizer = SubjectTokenizer.load(model, revision=revision)
        loaded = load_model(
            model,
            card.family,
            device=device,
            num_gpus=num_gpus,
            beside=beside,
            dtype=dtype,
            model_kwargs=model_kwargs or {},
            revision=revision,
        )
        return cls(
            loaded,
            tokenizer,
            card,
            compile_layers=compile_layers,
            exclude_special_tokens=exclude_special_tokens,
        )

    @property
    def device(self) -> torch.device:
        """Where states come from and go to, and the unembedding is: of several GPUs the last."""
        return self._parts.head.weight.device

    @property
    def W_U_DV(self) -> Tensor:
        """The unembedding, d_model x vocabulary, of the ids that the tokenizer has.

        The rest are padding of the matrix: no lists, and no statistics, should hold them.
        """
        return self._parts.head.weight[: self.tokenizer.num_ids].T

    @property
    def W_E_VD(self) -> Tensor:
        """The embedding, vocabulary x d_model, of the ids that the tokenizer has.

        Gemma scales its rows by sqrt(d_model) after.
        """
        return cast(Tensor, self._model.get_input_embeddings().weight[: self.tokenizer.num_ids])

    @property
    def b_U_V(self) -> Tensor | None:
        """The unembedding's bias, where the family has one, of the ids that the tokenizer has."""
        bias_V = self._parts.head.bias
        return None if bias_V is None else bias_V[: self.tokenizer.num_ids]

    @property
    def final_norm(self) -> FinalNorm:
        """The norm before the unembedding."""
        return self._parts.final_norm

    @property
    def softcap(self) -> float | None:
        """The cap on final logits, where the family has one."""
        return self._parts.softcap

    def site(self, hook_point: str) -> Site:
        """The site at which a write to a hook point takes effect. Raises SubjectError."""
        return self.card.blocks.write_site(hook_point)

    def sites(self, hook_points: Sequence[str]) -> tuple[Site, ...]:
        """The sites of several hook points. Raises SubjectError."""
        return tuple(map(self.site, hook_points))

    def place(self, hook_point: str) -> Place:
        """What is read at a hook point, for `residuals`. Raises SubjectError."""
        return self.card.blocks.read_place(hook_point)

    def attention_output(self, hook_point: str) -> AttentionOutput | None:
        """What a write to the hook point goes through on its way to the site; None of others than
        the heads' outputs. Raises SubjectError.
        """
        place = self.place(hook_point)
        if isinstance(place, int) or place.where != "z":
            return None
        return AttentionOutput.of(self._parts, place.layer)

    def probe(self, place: Place) -> Tensor:
        """The tensor [N, D] at a place, at ordinary tokens of a fixed text: no BOS, no sinks."""
        ids_1T = self._probe_ids()
        site = place if isinstance(place, int) else place.layer
        seen = self.residuals(ids_1T, [place, site])
        return seen[place][0, 1:][~self.is_sink(seen[site][0, 1:], site)]

    @torch.inference_mode()
    def residuals(self, token_ids_BT: Tensor, places: Sequence[Place]) -> dict[Place, Tensor]:
        """The tensor [B, T, D] at each site or place, in one pass that stops at the deepest."""
        seen: dict[Place, Tensor] = {}

        def keep(place: Place) -> Callable[[Tensor], None]:
            def note(tensor_BTD: Tensor) -> None:
                seen[place] = tensor_BTD.to(self.device)
                if len(seen) == len(wanted):
                    raise _Stop

            return note

        wanted = list(dict.fromkeys(places))
        handles = [watch(self._parts, place, keep(place)) for place in wanted]
        try:
            self._model(token_ids_BT.to(self.device), use_cache=False, logits_to_keep=1)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return seen

    def residual(self, token_ids_BT: Tensor, site: Site) -> Tensor:
        """Residual stream [B, T, D] at one site; the layers above it do not run."""
        return self.residuals(token_ids_BT, [site])[site]

    @torch.inference_mode()
    def resume(self, h_BTD: Tensor, site: Site, later: LaterWrites | None = None) -> Tensor:
        """Final normed states [B, T, D] from the residual stream at a site, with what is written
        `later` on the way.

        Equals the full pass bit for bit at equal batch shape, unless layers are compiled; only
        layers above the site run.
        """
        return self._resumed(h_BTD, site, self._run_layer, later)

    def resume_with_gradients(self, h_BTD: Tensor, site: Site) -> Tensor:
        """The same pass, never compiled, differentiable in `h_BTD` where autograd is on."""
        return self._resumed(h_BTD, site, _run_layer)

    def _resumed(
        self,
        h_BTD: Tensor,
        site: Site,
        run_layer: Callable[..., Tensor],
        later: LaterWrites | None = None,
    ) -> Tensor:
        h_BTD, above = self._to_next_block(h_BTD, site)
        arguments = self._arguments(h_BTD.shape[1])
        for number in range(above, len(self._parts.layers)):
            rest, kwargs = arguments[number]
            h_BTD = run_layer(self._parts.layers[number], h_BTD, rest, kwargs)
            if later is not None:
                h_BTD = later.added_to(h_BTD, number + 1)
        return cast(Tensor, self._parts.norm(h_BTD))

    @torch.inference_mode()
    def keep_keys(self, h_WTD: Tensor, site: Site) -> Prefix:
        """Run clean windows above a site and keep every layer's keys and values."""
        if self._parts.has_linear_attention:
            return Prefix(site, self.resume(h_WTD, site), {}, h_WTD)
        kept = KeptKeys()
        h_WTD, above = self._to_next_block(h_WTD, site)
        arguments = self._arguments(h_WTD.shape[1])[above:]
        for layer, (rest, kwargs) in zip(self._parts.layers[above:], arguments, strict=True):
            named = named_arguments(layer, rest, kwargs)
            h_WTD = first_tensor(layer(h_WTD, **with_cache(named, kept)))
        return Prefix(site, cast(Tensor, self._parts.norm(h_WTD)), kept.layers)

    @torch.inference_mode()
    def resume_suffix(
        self,
        h_BSD: Tensor,
        prefix: Prefix,
        windows_B: Tensor,
        starts_B: Tensor,
        later: LaterWrites | None = None,
    ) -> Tensor:
        """Final normed states [B, S, D] of S positions, over the clean keys of what is before, with
        what is written `later` at those positions.

        Row b stands at positions `starts_B[b]` to `starts_B[b] + S` of clean window
        `windows_B[b]`. Equal to `resume` of the whole window, to the last digits of its dtype,
        where the positions before the suffix are clean.
        """
        places_BS = starts_B[:, None] + torch.arange(h_BSD.shape[1], device=starts_B.device)
        if self._parts.has_linear_attention:
            whole_BTD = whole_windows(prefix, h_BSD, windows_B, places_BS)
            if later is not None:
                later = later.in_whole_windows(places_BS, whole_BTD.shape[1])
            states_BTD = self.resume(whole_BTD, prefix.site, later)
            return states_BTD[torch.arange(len(h_BSD), device=h_BSD.device)[:, None], places_BS]
        places: dict[tuple[int, torch.device], Tensor] = {}
        h_BSD, above = self._to_next_block(h_BSD, prefix.site)
        arguments = self._arguments(prefix.normed_WTD.shape[1])
        keys = JoinedKeys(prefix.layers, windows_B)
        for number in range(above, len(self._parts.layers)):
            layer, (rest, kwargs) = self._parts.layers[number], arguments[number]
            here_BS = moved(places_BS, device_of(layer), places)
            named = suffix_arguments(named_arguments(layer, rest, kwargs), here_BS, h_BSD.dtype)
            h_BSD = first_tensor(layer(h_BSD, **with_cache(named, keys)))
            if later is not None:
                h_BSD = later.added_to(h_BSD, number + 1)
        return cast(Tensor, self._parts.norm(h_BSD))

    @torch.inference_mode()
    def unembed(self, normed_XD: Tensor) -> Tensor:
        """Logits [..., V] of normed states, with the final softcap where there is one."""
        logits = self._parts.head(normed_XD)
        cap = self.softcap
        return cast(Tensor, logits if cap is None else cap * torch.tanh(logits / cap))

    @torch.inference_mode()
    def next_logits(
        self,
        token_ids_BT: Tensor,
        cache: Any,
        site: Site,
        read: Place,
        change: Change,
        later_sites: Sequence[Site] = (),
    ) -> Tensor:
        """Logits [B, V] after the last of the new tokens, the residual stream changed at a site,
        and at those of `later_sites` at which the change says so.

        `change` is given the states at the site and what was read on the way to it. `cache` (see
        `new_cache`) holds keys and values of all earlier tokens and is extended.
        """
        seen: list[Tensor] = []
        later: list[LaterWrites] = []

        def changed(h_BTD: Tensor) -> Tensor:
            clamped = change(h_BTD.to(self.device), seen[0].to(self.device))
            later.append(clamped.later)
            return clamped.h_BTD.to(h_BTD.device)

        def written(later_site: Site) -> Callable[[Tensor], Tensor]:
            return lambda h_BTD: later[0].added_to(h_BTD, later_site)

        handles = [
            watch(self._parts, read, seen.append),
            *change_at(self._parts, site, changed),
        ]
        for later_site in later_sites:
            handles += change_at(self._parts, later_site, written(later_site))
        try:
            output = self._model(
                token_ids_BT.to(self.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        finally:
            for handle in handles:
                handle.remove()
        return cast(Tensor, output.logits[:, -1])

    def new_cache(self) -> Any:
        """An empty key-value cache for `next_logits`."""
        from transformers import DynamicCache

        return DynamicCache(config=self._model.config)

    def is_sink(self, h_XD: Tensor, site: Site) -> Tensor:
        """Which positions [X] of the residual stream at a site are attention sinks."""
        return cast(Tensor, h_XD.float().norm(dim=-1) > self.sink_threshold(site))

    def sink_threshold(self, site: Site) -> float:
        """Residual norm above which a position is an attention sink at this site.

        Ten times the median norm over a fixed text: sinks are a hundred times the median, other
        positions within a third of it, so the exact factor decides nothing (methods 10).
        """
        if site not in self._sink_thresholds:
            norms_T = self.residual(self._probe_ids(), site)[0].float().norm(dim=-1)
            self._sink_thresholds[site] = SINK_FACTOR * float(norms_T[1:].median())
        return self._sink_thresholds[site]

    def _probe_ids(self) -> Tensor:
        ids = self.tokenizer.encode(_PROBE_TEXT)
        if self.tokenizer.bos_id is not None:
            ids = [self.tokenizer.bos_id, *ids]
        return torch.tensor([ids[: self.card.context_length]])

    def _to_next_block(self, h_BTD: Tensor, site: Site) -> tuple[Tensor, int]:
        """The state at the next site between blocks, and the number of layers below it."""
        if isinstance(site, int):
            return h_BTD, site
        h_BTD = h_BTD.to(device_of(self._parts.layers[site.layer]))
        return after_attention(self._parts, site.layer, h_BTD), site.layer + 1

    def _arguments(self, num_positions: int) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What each layer is given beside the hidden states, for windows of this length.

        Position embeddings and causal masks depend on the length alone: captured once from a
        pass over one window, they serve every batch.
        """
        if num_positions not in self._layer_arguments:
            seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

            def keep(
                _module: nn.Module, arguments: tuple[Any, ...], kwargs: dict[str, Any]
            ) -> None:
                rest = {k: v for k, v in kwargs.items() if k != "hidden_states"}
                seen.append((arguments[1:], rest))

            handles = [
                layer.register_forward_pre_hook(keep, with_kwargs=True, prepend=True)
                for layer in self._parts.layers
            ]
            try:
                ids_1T = torch.zeros(1, num_positions, dtype=torch.long, device=self.device)
                # Plain tensors: autograd cannot save those that are made in inference mode.
                with torch.inference_mode(False), torch.no_grad():
                    self._model(ids_1T, use_cache=False, logits_to_keep=1)
                    done: dict[tuple[int, torch.device], Tensor] = {}
                    self._layer_arguments[num_positions] = [
                        moved(given, device_of(layer), done)
                        for layer, given in zip(self._parts.layers, seen, strict=True)
                    ]
            finally:
                for handle in handles:
                    handle.remove()
        return self._layer_arguments[num_positions]


def _run_layer(
    layer: nn.Module, h_BTD: Tensor, rest: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    return first_tensor(layer(h_BTD, *rest, **kwargs))
