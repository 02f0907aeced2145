"""Seconds of every task of a run, from measured rates: what cluster_hours.py counts with.

Work comes from the plan (`estimate`, `forecast`); here are the rates it is divided by. Rates of the
subject were measured on one NVIDIA H200 (README.md, "On a GPU"); those of LLM engines were not
measured on any GPU and are derived. Each field says which.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import UNSTEERED, is_control
from ray_autointerp.plan.estimate import Line, expected_selection, num_requests
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.shards import Axes, methods_of
from ray_autointerp.plan.step import LLM_POOLS, Step
from ray_autointerp.plan.units import control_texts_per_latent, kl_targets, texts_per_latent
from ray_autointerp.plan.work import _PROMPT_TOKENS, _SEARCH_PASSES
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage

NUM_LAYERS, LAYER, D_MODEL = 26, 12, 2304
"""Of Gemma-2-2B, the measured subject; SAEs after its middle layer. Of a suite whose hook points
are spread over all layers that is the mean, so clamped passes cost what they do there."""

_ABOVE = NUM_LAYERS - LAYER - 1
_WIDTH = 16_384
"""Of the measured SAE."""


@dataclass(frozen=True)
class Rates:
    """Per GPU, unless said otherwise. "H200" is gpu.py: Gemma-2-2B's shapes, bfloat16, a TopK SAE
    of 16,384 latents after layer 12 of 26, 128 windows together, no torch.compile.
    """

    clamped_tokens: float = 72.7 * 2 * 32 * 32
    """H200, measured: TokenChange `all` as the stage does it, 72.7 latents/s of 2 signs x 32
    windows x 32 tokens through the 13 layers above, KL, lists and standard errors included."""
    control_variate_latents: float = 358
    """H200, measured: latents/s at 8 windows each. That 8 do was seen on SmolLM2, not on Gemma."""
    last_rows: float = 84 * 64
    """H200, measured: mode `last`, 84 latents/s of 64 positions each, each with its logits."""
    sweep_s: float = 0.0224
    """H200, measured: one backward sweep of the Jacobian over 128 windows, 13 layers."""
    launch_s: float = 0.0121 / 26
    """Derived: a layer of a pass that is bound by kernel launches. A backward sweep over 32 windows
    is (12.1 ms for 13 layers, measured on the H200), with about twice a forward's kernels."""
    bare_tokens: float = 200_700
    """H200, measured: forward pass through 13 layers and the encoder's product."""
    max_act_tokens: float = 136_700
    """H200, measured: the MaxAct pass with its tables, one SAE."""
    encoder_share: float = 0.036
    """Of the bare pass: ratio of FLOP counts. What SAEs add grows with their width: derived."""
    hub_stats_s: float = 0.06
    """H200, measured: 16,384 latents."""
    lists_s: float = 0.60 / _WIDTH
    """H200, measured: promoted and suppressed tokens of one latent by one map."""
    ceiling_s: float = 0.01
    """A guess: a latent's `output_ceiling`, sums of columns of the unembedding."""
    subject_start_s: float = 20.0
    """A guess: libraries imported, 5 GB of weights read and sent to the GPU."""
    sae_bytes_per_s: float = 1e9
    """A guess: an SAE's float32 file to the GPU. A worker keeps two SAEs."""
    task_s: float = 0.1
    """Reading and writing tables in a task, during which its GPU waits. From a ledger of scale.py
    on two CPU cores and a local disk: 0.08 to 0.12 s in steps that compute nearly nothing."""
    dead_share: float = 0.05
    """A guess: of all latents, those that never fire. `plan` counts at most all (`revive`)."""

    prompt_tokens: float = 0.5 * 799e12 / (2 * 8.2e9)
    """Derived, not measured: uncached prompt tokens/s of an 8.2B model, two operations a weight and
    token, at half of the H200's measured matrix product (799 TFLOP/s), the share that our clamped
    passes reach."""
    generated_tokens: float = 10_000
    """Derived, not measured: 256 answers at once read 16 GB of weights and about 30 GB of keys and
    values a token, 13,000 tokens/s at half of the H200's 4.8 TB/s; a quarter taken off. FinePhrase
    reports about 9,200 a second on an H100 with 1.7B, prompts included."""
    answer_token_s: float = 0.01
    """Derived: a token of one answer alone; an answer takes at least its tokens in a row."""
    engine_start_s: float = 90.0
    """A guess: weights, compiling, CUDA graphs. Measured on two CPU cores: 70 s (135M)."""

    corpus_tokens: float = 300_000
    """A guess: tokens/s written by a cpu worker. Token shards follow one another: one at a time."""
    top_examples_s: float = 1.38 / 512
    """Two CPU cores, measured (ledger of scale.py, 16,384 latents): a latent and token shard."""
    keywords_s: float = 0.15 / 512
    """The same; taken for `keyword_score` too."""
    publish_s: float = 4.6 / _WIDTH
    """Two CPU cores, measured: README.md, "Memory and seconds by size"."""


@dataclass(frozen=True)
class Seconds:
    """One task's time."""

    work: float
    """In which its GPU, or its core, computes."""
    overhead: float
    """In which tables are read and written. A subject's GPU waits for it, an engine does not."""
    answer: float = 0.0
    """Of an LLM task: from its first question to its answer, at least."""
    requests: int = 1


class Durations:
    """How long each task of a run takes; equal tasks of one step are counted once."""

    def __init__(
        self,
        config: Config,
        axes: Axes,
        lines: list[Line],
        usage: Mapping[str, Usage],
        rates: Rates,
    ) -> None:
        self._config, self._axes, self._rates = config, axes, rates
        self._selected = {s: expected_selection(config, len(r)) for s, r in axes.latents.items()}
        self._usage = usage
        self._tokens_each = {line.step: self._each(line) for line in lines}
        self._known: dict[tuple[str, str | None, int, int], Seconds] = {}
        self._num_control_shards = max(
            axes.num_control_shards(selected) for selected in self._selected.values()
        )

    def of(self, task: Task) -> Seconds:
        """The task's time."""
        latents = self._latents(task)
        # The control sample lies in the first shards: of those alone the LLM is asked more.
        key = task.step, task.method, latents, min(task.shard, self._num_control_shards)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._seconds(task, latents)
        return found

    def _seconds(self, task: Task, latents: int) -> Seconds:
        step = step_named(task.step)
        if step.pool not in LLM_POOLS:
            return Seconds(self._computed(task, latents), self._rates.task_s)
        per_shard = self._axes.selected_per_shard
        requests = num_requests(task, self._config, per_shard) * latents / per_shard
        return self._asked(step, round(requests))

    def sae_load_s(self, num: int = 1) -> float:
        """Encoder and decoder in float32, of so many SAEs."""
        width = max(map(len, self._axes.latents.values()))
        return num * 2 * 4 * width * self._axes.d_model / self._rates.sae_bytes_per_s

    def _each(self, line: Line) -> float:
        """Tokens of the step's whole share for one latent of one task."""
        step = step_named(line.step)
        if not line.subject_tokens or step.split != "selection":
            return 0.0
        total = sum(
            chosen.num_controls if is_control(method) else chosen.num_chosen
            for chosen in self._selected.values()
            for method in methods_of(step, self._config)
        )
        return line.subject_tokens / max(total, 1)

    def _latents(self, task: Task) -> int:
        """Latents in a task's shard; 0 where it is cut along another axis."""
        split = step_named(task.step).split
        if task.sae is None:
            return 0
        if split == "latents":
            return len(self._axes.latent_shard(task.sae, task.shard))
        if split != "selection":
            return len(self._axes.latents[task.sae])
        selected, size = self._selected[task.sae], self._axes.selected_per_shard
        total = selected.num_controls if is_control(task.method) else selected.num_chosen
        return min(size, total - task.shard * size)

    def _asked(self, step: Step, requests: int) -> Seconds:
        rates, usage = self._rates, self._usage.get(step.name, Usage())
        if not requests or not usage.num_requests:
            return Seconds(0.0, rates.task_s, requests=0)
        share = requests / usage.num_requests
        uncached = share * (usage.num_prompt_tokens - usage.num_cached_tokens)
        generated = share * usage.num_generated_tokens
        work = uncached / rates.prompt_tokens + generated / rates.generated_tokens
        answer = usage.num_generated_tokens / usage.num_requests * rates.answer_token_s
        return Seconds(work, rates.task_s, answer, requests)

    def _computed(self, task: Task, latents: int) -> float:
        """Seconds of a step that asks no LLM."""
        rates, axes, config = self._rates, self._axes, self._config
        tokens = latents * self._tokens_each.get(task.step, 0.0)
        corpus = config.corpus.num_tokens
        shards = axes.num_token_shards
        deepest = NUM_LAYERS if len(set(axes.hook_points.values())) > 1 else LAYER + 1
        forward_s = (1 - rates.encoder_share) / rates.bare_tokens / (LAYER + 1)
        saes_s = sum(map(len, axes.latents.values())) / _WIDTH
        saes_s *= 1 / rates.max_act_tokens - (1 - rates.encoder_share) / rates.bare_tokens
        match task.step:
            case "corpus":
                return corpus / shards / rates.corpus_tokens
            case "max_act":  # a worker keeps two SAEs: those of a suite are read for every shard
                return corpus / shards * (deepest * forward_s + saes_s) + self.sae_load_s(
                    len(axes.latents)
                )
            case "jacobian":
                return len(axes.direction_shard(task.shard)) * rates.sweep_s
            case "hub_stats":
                return latents / _WIDTH * rates.hub_stats_s
            case "vocab_proj" | "jacobian_proj":
                return latents * rates.lists_s * (2 if task.step == "vocab_proj" else 1)
            case "free_scores":
                return latents * 2 / rates.last_rows
            case "token_change" if config.evidence.change_estimator == "control_variate":
                return latents / rates.control_variate_latents
            case "token_change" | "held_out_change":
                return tokens / rates.clamped_tokens
            case "agreement":
                evidence = config.evidence
                windows = evidence.change_windows + evidence.agreement_windows
                sample = min(config.select.sample, latents)
                each = 2 * windows * evidence.change_window_tokens
                return sample * each / rates.clamped_tokens
            case "calibrate":
                return self._search_s(2 * latents)
            case "steering":
                return self._generated_s(latents * len(texts_per_latent(config)))
            case "control_texts":
                search = 0.0 if task.method == UNSTEERED else self._search_s(latents)
                texts = len(control_texts_per_latent(config))
                return search + self._generated_s(latents * texts)
            case "input_score":
                return tokens * (LAYER + 1) * forward_s
            case "revive":
                share = rates.dead_share if config.select.rule == "all" else 1.0
                return tokens * (LAYER + 1) * forward_s * share
            case "output_ceiling":
                return latents * rates.ceiling_s
            case "top_examples":
                return latents * shards * rates.top_examples_s
            case "keywords" | "keyword_score":
                return latents * rates.keywords_s
            case "publish":
                return latents * rates.publish_s
        return 0.0  # reading and writing is all there is

    def _search_s(self, curves: int) -> float:
        """The search for clamp values: a pass for each prompt, value and part of the curves."""
        passes = _SEARCH_PASSES * self._config.steering.num_prompts * len(kl_targets(self._config))
        parts, rows = self._parts(curves)
        tokens_s = rows * _PROMPT_TOKENS / self._rates.clamped_tokens
        return passes * parts * max(_ABOVE * self._rates.launch_s, tokens_s)

    def _generated_s(self, texts: int) -> float:
        """Texts token by token, through all layers; those of one prompt go together."""
        steering = self._config.steering
        parts, rows = self._parts(-(-texts // steering.num_prompts))
        passes = steering.num_prompts * parts * steering.new_tokens
        tokens_s = rows * NUM_LAYERS / _ABOVE / self._rates.clamped_tokens
        return passes * max(NUM_LAYERS * self._rates.launch_s, tokens_s)

    def _parts(self, rows: int) -> tuple[int, int]:
        """Into how many passes rows are cut, and the rows of a full one."""
        size = self._config.operations.micro_batch or 128
        return max(1, -(-rows // size)), min(rows, size)
