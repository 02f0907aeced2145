"""The configuration of a run: one TOML file, strict, frozen, a docstring under every field.

Knows which values are possible, not whether they fit: preflight/check.py asks the subject, the SAEs
and the store. Each field has one of three kinds: identity decides results; growth may grow until
labels exist; operations are free to change on a resumed run. Identity is the default.
"""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Method = str
"""A description method: `keywords`, or one of plan/evidence.py's explainers."""

Dtype = Literal["float32", "bfloat16", "float16", "float64"]
ChangeMode = Literal["all", "active", "last"]
ControlText = Literal["random_direction", "unsteered", "neighbour"]
KLTarget = Annotated[float, Field(gt=0, le=5)]
Workers = Annotated[int, Field(ge=1)]
PoolSize = Workers | tuple[Workers, Workers] | Literal["auto"]
Labels = dict[str, Annotated[str, Field(pattern=r"^!?(in\([\w.-]+(, ?[\w.-]+)*\)|[\w.-]+)$")]]


LabelScore = Literal[
    "input_auroc",
    "input_difference",
    "input_auprc",
    "input_hit_rate",
    "detection_auroc",
    "detection_auprc",
    "detection_near_miss_auroc",
    "fuzzing_auroc",
    "output_win_rate",
    "unseen_win_rate",
    "keyword_f1",
    "margin",
]
"""A column of `labels` that says how good a label is."""

FEWEST_TEXTS = 3
"""Texts of each kind without which a latent has no detection or fuzzing score."""

Kind = Literal["identity", "growth", "operations"]


@dataclass(frozen=True)
class _Of:
    """Metadata of a field whose kind is not its section's."""

    kind: Kind


_IDENTITY, _GROWTH, _OPERATIONS = _Of("identity"), _Of("growth"), _Of("operations")


class Section(BaseModel):
    """A table of the TOML file. Unknown keys are errors, values cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    kind: ClassVar[Kind] = "identity"

    @classmethod
    def kind_of(cls, field: str) -> Kind:
        """The kind of one of the section's own fields."""
        own = (m.kind for m in cls.model_fields[field].metadata if isinstance(m, _Of))
        return next(own, cls.kind)


class RunSection(Section):
    """Where the run lies, and its seed."""

    name: Annotated[str, _OPERATIONS] = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The run's folder under `root`. Letters, digits, `.`, `_`, `-`."""
    root: Annotated[str, _OPERATIONS] = "runs"
    """A folder (relative to where the command is given) or `s3://bucket/prefix`."""
    seed: int = 0
    """Every random choice derives from it, from the latent and from the purpose."""
    parent: Annotated[str | None, _OPERATIONS] = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    )
    """The name of a run under `root`. A new run uses that run's steps where they lie, as far as
    nothing that decides them differs."""


class SubjectSection(Section):
    """The language model under study."""

    model: Annotated[str, _OPERATIONS]
    """A hub name, or a local directory in Hugging Face format. `~` and `$VARIABLES` expand. A run
    knows its subject by the digest of the model, wherever it lies."""
    revision: Annotated[str | None, _OPERATIONS] = None
    """The hub revision; None takes the hub's default branch."""
    dtype: Dtype = "float32"
    """Of weights and activations. float32 is the fastest on a CPU without AMX."""
    device: Annotated[Literal["auto", "cpu", "cuda"], _OPERATIONS] = "auto"
    """`auto` takes a GPU where the worker has one."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the model's loader; the SAE's own metadata fills what is not said here."""


class SaeSection(Section):
    """One dictionary on the subject. Give `path`, or `release` and `sae_id`, or `random_like`, or
    `checkpoints`; for many SAEs of a release see SuiteSection.
    """

    id: str = Field(min_length=1)
    """The name used in folders and tables."""
    path: str | None = None
    """A folder in SAELens' or sparsify's format, relative to the config file, or
    `s3://bucket/prefix`; or a cross-layer transcoder's in circuit-tracer's, with `layer`."""
    layer: int | None = Field(default=None, ge=0)
    """Of a cross-layer transcoder's folder or checkpoints, the layer whose latents these are."""
    checkpoints: str | None = None
    """For `relabel`: a folder, or `s3://bucket/prefix`, below which each checkpoint of this SAE is
    a folder. Every one is labelled in a run of its own."""
    release: str | None = None
    """A release in SAELens' registry."""
    sae_id: str | None = None
    """The SAE within the release."""
    random_like: str | None = None
    """The id of another SAE, a TopK one: this one has its shapes, places, k and norms, and random
    weights. It runs as any other, as a floor for every score."""
    hook_point: str | None = None
    """Where it writes, in TransformerLens' words; None takes what the SAE's metadata says. An SAE
    reads there too."""
    read_point: str | None = None
    """Where it reads, if elsewhere (a transcoder); None takes what its metadata says."""
    latents: str | None = Field(default=None, pattern=r"^\d+:\d+$")
    """A range such as `0:256`; None is the whole dictionary."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [self.path, self.checkpoints, self.release, self.random_like]
        if sources.count(None) != 3 or (self.release is None) != (self.sae_id is None):
            raise ValueError(
                "give either `path`, or both `release` and `sae_id`, or `random_like`, or "
                "`checkpoints`"
            )
        if self.layer is not None and self.path is None and self.checkpoints is None:
            raise ValueError("`layer` is that of a folder: give `path` or `checkpoints` with it")
        if self.sae_id is not None and "*" in self.sae_id:
            raise ValueError(f"`sae_id` names one SAE: say `sae_ids` for the pattern {self.sae_id}")
        return self


class SuiteSection(Section):
    """A [[sae]] table with `sae_ids`: many SAEs of one release, watched in one pass. It is replaced
    by a table for each before anything else sees the config.
    """

    release: str
    """A release in SAELens' registry."""
    sae_ids: str
    """A pattern of SAEs within the release: `*` stands for any text, `?` for a character, `[0-9]`
    for one of those. `layer_*/width_16k/canonical`"""
    id: str | None = Field(default=None, min_length=1)
    """What the ids of these SAEs begin with; after it comes the SAE's name in the release, `-` for
    each `/`. None is the name alone."""
    latents: str | None = Field(default=None, pattern=r"^\d+:\d+$")
    """A range such as `0:256` of each; None is the whole dictionary."""


class CorpusSection(Section):
    """The text on which latents are watched."""

    path: Annotated[str | None, _OPERATIONS] = None
    """A Parquet or JSONL file, or a folder of .txt files, relative to the config file."""
    dataset: str | None = None
    """A Hugging Face dataset name, streamed, in place of `path`."""
    dataset_config: str | None = None
    """The dataset's configuration name."""
    dataset_split: str = "train"
    """The dataset's split."""
    text_column: str = "text"
    """The column (Parquet, JSONL, dataset) that holds one document's text."""
    tokens_column: str | None = None
    """A column of token ids, taken as they are, in place of text."""
    id_column: str | None = None
    """A column that names each document; None numbers them."""
    messages_column: str | None = None
    """A column of chat messages (role, content), rendered by the subject's chat template."""
    num_tokens: int = Field(default=10_000_000, gt=0)
    """Stop after this many tokens; the corpus may be smaller."""
    window: int | None = Field(default=None, ge=8)
    """Tokens per window; None takes the SAE's training context."""
    prepend_bos: bool | None = None
    """Whether each window starts with BOS; None does as the SAE's training did. A document that
    begins with BOS, or has token ids that begin with BOS or EOS, gets no second one."""
    exclude_special_tokens: bool | tuple[int, ...] | None = None
    """Tokens on which no latent is looked at, in SAELens' words: `true` is BOS, EOS, padding and
    separator, not a chat template's others; `false` is none; or a list of token ids. None does as
    the SAE's training did, and as `true` where its metadata does not say. The BOS that a window
    begins with and attention sinks are left out in any case."""
    tokens_per_shard: Annotated[int, _OPERATIONS] = Field(default=1_000_000, gt=0)
    """Target size of a token shard: a forward pass of one to ten minutes."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either `path` or `dataset`")
        return self


class EvidenceSection(Section):
    """What is measured of each latent."""

    num_top_examples: int = Field(default=100, ge=1)
    """Windows with the highest activation kept per latent and side of the document split."""
    num_stratified: int = Field(default=20, ge=0)
    """Windows kept beside them per latent and side, drawn evenly from every strength."""
    num_near_misses: int = Field(default=10, ge=0)
    """Windows per latent and side that hold the tokens it peaks on and leave it silent."""
    sample_windows: int = Field(default=1000, ge=1)
    """Windows per side, about, whose every non-zero activation is kept."""
    excerpt_tokens: int = Field(default=32, ge=4)
    """Length of the excerpt cut around a peak for people and prompts."""
    num_vocab_tokens: int = Field(default=50, ge=1)
    """VocabProj: promoted and suppressed tokens kept, each (the paper's 50)."""
    vocab_rank_by: Literal["logit", "z"] = "logit"
    """VocabProj: rank by projected logit (the paper), or by its z-score over all latents."""
    num_read_tokens: int = Field(default=20, ge=1)
    """VocabProj: tokens kept whose embeddings the encoder reads most, and least."""
    num_changed_tokens: int = Field(default=20, ge=1)
    """TokenChange: promoted and suppressed tokens kept, each (the paper's 20)."""
    change_modes: tuple[ChangeMode, ...] = Field(default=("all",), min_length=1)
    """TokenChange: where a latent is clamped. `all`: at every position of the shared windows (the
    paper's). `active`: where it fires in its own top examples, raised and lowered. `last`: at the
    windows' final position. Explainers read the first."""
    change_estimator: Literal["control_variate", "exact"] = "control_variate"
    """TokenChange `all`: `exact` runs every window; `control_variate` runs as few as give the same
    standard error, and corrects them by the Jacobian."""
    change_windows: int = Field(default=32, ge=2)
    """TokenChange: windows shared by all latents (the paper's 32), or worth as much. Exact, latents
    x 2 signs x this many windows go through the subject's upper layers: most of the bill."""
    change_window_tokens: int = Field(default=32, ge=2)
    """TokenChange: tokens per window (the paper's 32)."""
    change_clamp: Literal["max_activation", "kl", "fixed"] = "max_activation"
    """TokenChange: clamp to a multiple of the latent's maximum, to the calibrated KL target, or to
    one value for every latent (the released notebook's 10, for parity)."""
    change_clamp_size: float = Field(default=1.0, gt=0)
    """The multiple, the KL target (which must be one of `steering.kl_targets`), or the value."""
    change_examples: int = Field(default=16, ge=2)
    """TokenChange `active`: top examples in which the latent is raised and lowered."""
    input_windows: int = Field(default=1024, ge=0)
    """Windows on which the map from the embeddings to what latents read is fitted, once for all
    latents. 0 reads the embeddings as if no layer came before the hook point."""
    jacobian: Annotated[str, _OPERATIONS] = Field(default="fit", pattern=r"^(fit|lens:.+)$")
    """JacobianProj: `fit` sweeps the subject; `lens:<name or file>` takes a Jacobian lens that was
    fitted before: a name of TransformerLens' registry (`lens:gemma-2-2b`), a `.pt` file as it saves
    them, or a safetensors file with a matrix per layer. A run knows it by its digest."""
    jacobian_windows: int = Field(default=128, ge=2)
    """JacobianProj: windows behind the average Jacobian of a hook point. More than about 128 stop
    helping; the cost is d_model backward sweeps over them, once for all latents."""
    agreement_windows: int = Field(default=256, ge=4)
    """Windows of other documents on which every estimate is judged, for the sample's latents."""
    held_out_windows: int = Field(default=8, ge=1)
    """Windows of other documents on which every chosen latent is raised, exactly: what scores of
    token lists are held against. Latents x 2 strengths x this many pass the upper layers."""
    num_neighbours: int = Field(default=10, ge=1)
    """Decoder-nearest latents kept."""

    @property
    def has_lens(self) -> bool:
        """Whether the Jacobian is one that was fitted before."""
        return self.jacobian != "fit"

    @model_validator(mode="after")
    def _windows_have_jacobians(self) -> Self:
        if self.has_lens and self.change_estimator == "control_variate":
            raise ValueError(
                "a lens has no Jacobian of each window, which the control variate needs: set "
                '`change_estimator = "exact"` or `jacobian = "fit"`'
            )
        return self


class MatchSection(Section):
    """Which latents are latents of the parent run's SAE: an earlier checkpoint, another seed or
    another width; and which of those keep their labels. With this section, a run that has a parent
    writes `matches`.
    """

    sae: str | None = None
    """The id of that SAE in the parent run; None is this one's own."""
    cosine: float = Field(default=0.7, gt=0, lt=1)
    """The least cosine of two decoder rows that are one latent (Paulo and Belrose 2025)."""
    carry_over: bool = True
    """Whether a matched latent keeps the parent's label where that still holds, without being asked
    about: if each of the following is passed. The panel and the sample are labelled anew, and all
    latents are where the LLM, the methods or the scores are others than the parent's, unless
    `carry_despite_changes`."""
    carry_cosine: float = Field(default=0.7, ge=0, le=1)
    """The least cosine of the decoder rows."""
    carry_correlation: float = Field(default=0.5, ge=0, le=1)
    """The least correlation of activations on the windows that both runs sampled; 0 asks for
    none."""
    carry_overlap: float = Field(default=0.1, ge=0, le=1)
    """The least share of promoted tokens in common; 0 asks for none."""
    carry_auroc_loss: float = Field(default=0.1, ge=0, le=1)
    """How far the AUROC of the sentences that were written from the label may fall, from the latent
    that the label was made for to this one."""
    carry_scores: dict[LabelScore, float] = Field(default_factory=dict)
    """The least score of a label that is kept, by column of `labels`, such as
    `{ input_auroc = 0.7 }`; a label without that score is made anew."""
    carry_since: date | None = None
    """Labels that were made before this day (UTC) are made anew."""
    carry_despite_changes: bool = False
    """Whether labels are kept though another LLM, other methods or other scores made them: to make
    anew only the poor ones, or the old ones, with something better."""


class SaeFitSection(Section):
    """Whether an SAE fits the subject, looked at on the corpus's first tokens before anything else
    is done with it.
    """

    num_tokens: int = Field(default=20_000, ge=1)
    """How many tokens, of the corpus's first shard at most."""
    warn_unexplained: Annotated[float, _OPERATIONS] = Field(default=0.5, ge=0, allow_inf_nan=False)
    """Share of the variance that an SAE may leave unexplained without a warning."""
    most_unexplained: Annotated[float, _OPERATIONS] = Field(default=0.9, ge=0, allow_inf_nan=False)
    """Share above which the run stops. It can be above 1: a large number never stops a run."""


class JudgeCheckSection(Section):
    """Whether the judge can judge, looked at by questions whose answers are known, before any other
    question to it.
    """

    kind: ClassVar[Kind] = "operations"

    least_allowed: float = Field(default=0.5, ge=0, le=1)
    """Share of the judge's probability that the allowed answers must hold; below it the run stops.
    With 0 no judge stops a run."""


class SelectSection(Section):
    """Which latents deserve LLM money and exact clamps."""

    rule: Literal["sample", "all", "list", "top"] = "sample"
    """`sample`: `num_latents` alive ones, first by seeded hash. `list`: those in `latents`. `top`:
    the `num_latents` alive ones that come first by the score `by`."""
    by: Literal[
        "s_in",
        "s_out",
        "effect_kl",
        "effect_kl_amplified",
        "delta_confidence",
        "max_logit_diff",
        "single_token_share",
        "keyword_f1",
    ] = "s_out"
    """The score without an LLM that the `top` rule goes by, the largest first; ties by seeded hash.
    A latent without that score is taken last. A high `delta_confidence` blurs the next token.
    `keyword_f1` goes the other way, the smallest first: to latents whose keywords tell least of
    where they fire."""
    num_latents: int = Field(default=256, ge=0)
    """How many the `sample` and `top` rules take."""
    latents: tuple[int, ...] = ()
    """The `list` rule's latents; they may be dead."""
    num_dead: int = Field(default=8, ge=0)
    """Dead latents taken beside them, first by seeded hash: they are described as others are, and
    `revive` tells whether any text fires them. `all` takes every dead one anyway."""
    panel: int = Field(default=64, ge=3)
    """Alive latents from which partners and strangers of output scores are drawn; always chosen."""
    sample: int = Field(default=48, ge=1)
    """Alive latents set aside for agreement measurements; always chosen."""
    controls: int = Field(default=200, ge=0)
    """Chosen alive latents whose descriptions are also scored shuffled, as every score's floor: the
    panel first, then by seeded hash. 0 makes no controls."""

    @model_validator(mode="after")
    def _controls_hold_the_panel(self) -> Self:
        if 0 < self.controls < self.panel:
            raise ValueError(
                f"`controls` = {self.controls} must be 0 or at least `panel` = {self.panel}: "
                "strangers of shuffled descriptions are drawn from the panel"
            )
        return self


class DescribeSection(Section):
    """Which descriptions are made, and how long they may be."""

    methods: Annotated[tuple[Method, ...], _GROWTH] = ("keywords", "named_keywords", "ensemble_raw")
    """In order of preference, which decides among descriptions that do equally well."""
    label_by: Literal["trials", "order"] = "trials"
    """`trials`: the label is the scored description that does best in trials of their own, which
    no published score counts. `order`: the first of `methods` that is `ok`; no such trials are
    made."""
    cap_words: int = Field(default=30, ge=5)
    """One cap for every method, so that none wins by length."""
    structured: bool = False
    """Ask explainers for JSON: what activates the latent, what it promotes, what it suppresses, and
    how these relate. The parts are columns of `descriptions`; the description is made of them."""
    num_examples: int = Field(default=10, ge=1)
    """Top examples shown to the explainer."""
    num_tokens_shown: int = Field(default=20, ge=1)
    """Tokens shown of each promoted or suppressed list."""


class ScoreSection(Section):
    """What is scored, and with how many trials."""

    methods: Annotated[tuple[Method, ...], _GROWTH] = ("keywords", "named_keywords", "ensemble_raw")
    """Methods whose descriptions are scored, of those described; all of them where not given."""
    num_sentences: int = Field(default=5, ge=1)
    """Activating sentences asked for in one answer, and as many neutral ones beside them."""
    neutral_sentences: Literal["packaged", "written"] = "packaged"
    """Where the neutral ones come from. `packaged`: drawn for each latent from a list that knows no
    description, the same for all methods. `written`: by the writer from the description, as the
    paper has it; a small one repeats in them what it should avoid."""
    num_draws: int = Field(default=3, ge=1)
    """Separately seeded answers; sentences of one answer are one cluster."""
    num_choosing_draws: int = Field(default=2, ge=2)
    """Answers beside them by which the label is chosen: two at least, to know how far to trust
    them."""
    judged_by: Literal["choice", "likelihood"] = "choice"
    """How a judge is asked. `choice`: a question, answered by one token, as by delphi's judges and
    the paper's. `likelihood`: how much likelier it finds the texts or tokens after the description
    than without it, which models too small for such questions can tell; of the vllm backend alone.
    The three-set question is always a choice."""
    num_units: int = Field(default=12, ge=0)
    """Two-set trials per latent and method, each on a text set of its own, of raised latents. With
    0 no text is steered and none judged."""
    num_choosing_units: int = Field(default=4, ge=0)
    """Trials beside them, on other texts, by which the label is chosen. With 0 what a latent does
    chooses by unseen tokens alone."""
    texts_per_set: int = Field(default=4, ge=1, le=12)
    """Steered texts of a set, one for each of as many prompts: what the judge sees of a latent in
    one trial. One text of 25 tokens tells even a perfect description little."""
    num_unseen_trials: int = Field(default=8, ge=0)
    """Published trials per latent and method on tokens that no explainer was shown. With 0 no
    description is judged by unseen tokens."""
    num_choosing_trials: int = Field(default=4, ge=2)
    """Trials beside them, on other tokens, by which the label is chosen."""
    num_surprisal_trials: int = Field(default=0, ge=0)
    """Intervention surprisal: trials per latent and method, each on a unit's steered texts and thus
    at most `num_units`. The score is by how many nats the judge finds the description likelier
    after them than after unsteered texts (Paulo et al., 2024); a judge of the vllm backend alone
    can tell. 0 switches it off."""
    three_set_methods: tuple[Method, ...] = ()
    """Methods that also get the paper's three-set judgement (12 more texts per latent, at the
    paper's KL targets 0.25 and 0.5)."""
    control_texts: tuple[ControlText, ...] = ("random_direction", "unsteered", "neighbour")
    """Texts with which some published trials of `methods` are asked once more, for the control
    sample (`select.controls`). In the place of the latent's own: made while a random direction of
    the decoder row's norm is added, calibrated to the same KL, and made without steering. No
    description is of them, so the win rate must be at chance. In the place of the partner's: made
    by the latent with the most similar decoder row, at the same KL."""
    num_control_units: int = Field(default=2, ge=1)
    """Trials with each kind of control text, at most `num_units`. About 1,080 in all, over latents
    and methods, tell chance from 5 % off it."""
    detection_texts: int = Field(default=10, ge=0)
    """Detection: held-out texts in which the latent is active, and as many random ones in which it
    is silent, that the judge must tell apart (delphi takes 50 and 50). 0 switches the score off."""
    detection_near_misses: int = Field(default=5, ge=0)
    """Detection: silent texts beside them that hold the tokens the latent peaks on."""
    fuzzing_texts: int = Field(default=10, ge=0)
    """Fuzzing: held-out texts shown with the active tokens marked, and as many with others. 0
    switches the score off."""
    texts_per_prompt: int = Field(default=5, ge=1)
    """Detection, fuzzing: texts listed in one prompt; each is asked about by itself."""

    @model_validator(mode="after")
    def _enough_trials(self) -> Self:
        if self.num_choosing_units == 1:  # two halves tell how far they can be trusted
            raise ValueError("num_choosing_units must be 0 or at least 2")
        if self.three_set_methods and not self.num_units:
            raise ValueError("three_set_methods need num_units of at least 1: no text is steered")
        if self.num_surprisal_trials > self.num_units:
            raise ValueError(
                f"num_surprisal_trials is {self.num_surprisal_trials}: each takes the steered "
                f"texts of a unit, and num_units is {self.num_units}"
            )
        for name in ("detection_texts", "fuzzing_texts"):
            if 0 < getattr(self, name) < FEWEST_TEXTS:
                raise ValueError(f"{name} must be 0 or at least {FEWEST_TEXTS}")
        return self


class SteeringSection(Section):
    """Text generated while a latent is clamped, once per latent, shared by all descriptions."""

    kl_targets: tuple[KLTarget, ...] = Field(default=(1.0,), min_length=1)
    """KL(clean || clamped) in nats of the next token, mean over the prompts. Texts degenerate
    above 2, and below 0.5 say little (methods 19)."""
    num_prompts: int = Field(default=12, ge=3, le=12)
    """Neutral prompts; the first three are the paper's."""
    new_tokens: int = Field(default=25, ge=1)
    """Tokens generated per text (the paper's 25)."""
    temperature: float = Field(default=0.75, ge=0)
    """Sampling temperature (the released notebook's)."""


class PriceSection(Section):
    """What answers cost, in any currency: a report may be read at another price."""

    kind: ClassVar[Kind] = "operations"

    prompt: float = Field(default=0.0, ge=0)
    """Per million prompt tokens."""
    cached: float | None = Field(default=None, ge=0)
    """Per million prompt tokens read from the prefix cache; None is the price of any other."""
    generated: float = Field(default=0.0, ge=0)
    """Per million generated tokens."""
    engine_hour: float = Field(default=0.0, ge=0)
    """Per hour of one engine, with all its GPUs."""


class LLMSection(Section):
    """The explainer, and the judge unless `[judge]` names another."""

    backend: Literal["vllm", "endpoint", "scripted"] = "vllm"
    """`vllm`: engines of this run's own. `endpoint`: servers that speak OpenAI's chat completions.
    `scripted` answers from the prompt's text by a Python function: for tests."""
    model: Annotated[str, _OPERATIONS] = ""
    """A hub name or local directory; of an endpoint, the name it serves. `~` and `$VARIABLES`
    expand. This is the line that buys better labels."""
    script: str = ""
    """`module:function`, for the scripted backend."""
    endpoints: Annotated[tuple[str, ...], _OPERATIONS] = ()
    """Base URLs such as `https://api.example.com/v1`, for the endpoint backend; requests go to the
    least busy one."""
    api_key_variable: Annotated[str, _OPERATIONS] = "OPENAI_API_KEY"
    """The environment variable that holds the endpoints' key; keys stand in no file."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the engine's weights. `auto` is the model's own on a GPU; on a CPU bfloat16 where the CPU
    multiplies that, else float32, which is then several times faster."""
    max_model_len: int = Field(default=4096, ge=256)
    """Longest prompt plus answer, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """Of descriptions; sentences are drawn at 0.7 or above so that draws differ."""
    sampled_answers: int = Field(default=0, ge=0)
    """Of a judge at an endpoint that gives no log-probabilities: one-token answers sampled at
    temperature 1 for each judgement, whose shares are taken as probabilities (each choice counts
    half an answer more, so that none is impossible). 0 refuses such an endpoint."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the model's chat template, on both backends. Templates with the switch
    `enable_thinking` get false for it unless it is set here: answers are read as they come."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Passed to vLLM's engine as they are."""
    batch_invariant: Annotated[bool, _OPERATIONS] = False
    """Answers of a vLLM engine do not depend on what else is in its batch (VLLM_BATCH_INVARIANT):
    a run made again gives the same ones. Needs a GPU (NVIDIA's of compute capability 8.0 or
    more), and takes a fifth to a third of the throughput (Qwen3-1.7B, by vLLM's issue 27433)."""
    requests_in_flight: Annotated[int, _OPERATIONS] = Field(default=256, ge=1)
    """Requests one engine, or one endpoint, works on at once."""
    timeout_s: Annotated[float, _OPERATIONS] = Field(default=600.0, gt=0)
    """Seconds without a token of any answer, after which an engine counts as hung; of a request to
    an endpoint, seconds without an answer, after which it counts as lost."""
    max_tries: Annotated[int, _OPERATIONS] = Field(default=6, ge=1)
    """Of one request to endpoints that are busy or broken, with growing pauses."""
    price: PriceSection = PriceSection()

    @model_validator(mode="after")
    def _backend_has_its_model(self) -> Self:
        needed = {"vllm": "model", "endpoint": "model", "scripted": "script"}[self.backend]
        if not getattr(self, needed):
            raise ValueError(f"the {self.backend} backend needs `{needed}`")
        if (self.backend == "endpoint") != bool(self.endpoints):
            raise ValueError('`endpoints` and `backend = "endpoint"` need each other')
        return self


class BudgetSection(Section):
    """The ceiling on what the LLM may cost, over the whole life of a run."""

    kind: ClassVar[Kind] = "operations"

    max_tokens: int | None = Field(default=None, gt=0)
    """Prompt and generated tokens together."""
    max_cost: float | None = Field(default=None, gt=0)
    """Money, by the prices of `[llm.price]` and `[judge.price]`."""
    when_reached: Literal["stop", "finish"] = "stop"
    """`stop`: the run ends, and a higher ceiling continues it. `finish`: what was not asked becomes
    rows with the status `over_budget`, so that the tables are whole, for good."""


class OperationsSection(Section):
    """Sizes of pools and batches: free to change on a resumed run, but for `micro_batch`, which
    decides bytes, and the shard sizes, which the manifest keeps.
    """

    kind: ClassVar[Kind] = "operations"

    latents_per_shard: int = Field(default=512, ge=1, le=512)
    """Latents in a shard of the cheap steps."""
    selected_per_shard: int = Field(default=32, ge=1, le=512)
    """Chosen latents in a shard of the costly steps."""
    micro_batch: Annotated[int, _IDENTITY] = Field(default=0, ge=0)
    """Windows in one forward pass; 0 finds it from the model's size and `memory_gb`, once per run.
    Batch shape moves the last float bits. Out of memory, a worker halves it."""
    compile_layers: Annotated[bool, _IDENTITY] = False
    """Compile the subject's layers for clamped passes (torch.compile): on a GPU a third faster,
    after a minute of compiling in each worker. It moves the last float bits."""
    memory_gb: float | None = Field(default=None, gt=0)
    """What each subject worker may take of each of its GPUs, or of its machine if it has none; None
    is the GPU's memory, or the worker's share of this machine's (of which an engine on the same
    cores needs some too)."""
    subject_workers: PoolSize = 1
    """Actors that hold the subject. Two numbers are bounds; `"auto"` is from 1 to as many as the
    cluster's GPUs allow (of workers without GPUs, its CPUs by `threads`; 1 without a cluster).
    Within them GPUs go where the run ends first, by what each pool has left to do."""
    llm_workers: PoolSize = 1
    """The same for actors that hold an LLM engine."""
    judge_workers: PoolSize = 1
    """The same for the judge, where `[judge]` names a model of its own."""
    cpu_workers: int = Field(default=1, ge=1)
    """Workers for steps without a model."""
    subject_gpus: float = Field(default=0, ge=0)
    """GPUs of each subject actor. Below 1 it shares one with others. A whole number above 1 is for
    a subject larger than one GPU: its layers are spread over them, and each works in its turn."""
    llm_gpus: float = Field(default=0, ge=0)
    """GPUs of each engine actor. A fraction is the share of one card's memory that the engine
    takes; a whole number above 1 must be `tensor_parallel_size` in `llm.engine_args`."""
    judge_gpus: float = Field(default=0, ge=0)
    """The same for the judge."""
    subject_labels: Labels = Field(default_factory=dict)
    """Labels of the Ray nodes that subject actors may run on, for clusters with cards of several
    kinds: `{"ray.io/accelerator-type" = "H100"}`; also `"!T4"`, `"in(A100, H100)"`."""
    llm_labels: Labels = Field(default_factory=dict)
    """The same for engine actors."""
    judge_labels: Labels = Field(default_factory=dict)
    """The same for the judge."""
    take_turns: bool = False
    """Subject workers and LLM engines use the same GPUs one after the other, each at its full
    share: for one card that cannot hold both. Engines stop and start again with every turn."""
    directions_per_shard: int = Field(default=256, ge=1)
    """Output directions of the Jacobian in a shard: a backward sweep each."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of each subject actor and each engine."""
    max_attempts: int = Field(default=3, ge=1)
    """Tries of one task before the run stops with its name."""
    take_over: bool = False
    """Drive the run although another process seems to, without a look at whether it lives."""
    max_quarantined: int = Field(default=3, ge=0)
    """Prompts of one task that may kill engines, and be left out, before the run stops."""

    @field_validator("subject_gpus")
    @classmethod
    def _is_whole_above_one(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(
                f"subject_gpus is {gpus:g}: give a whole number of GPUs, or a share of one below 1"
            )
        return gpus


class Config(Section):
    """The whole file."""

    run: RunSection
    subject: SubjectSection
    sae: tuple[SaeSection, ...] = Field(min_length=1)
    """One `[[sae]]` table each; one with `sae_ids` stands for many (SuiteSection)."""
    corpus: CorpusSection
    evidence: EvidenceSection = EvidenceSection()
    sae_fit: SaeFitSection = SaeFitSection()
    judge_check: JudgeCheckSection = JudgeCheckSection()
    match: MatchSection | None = None
    """None matches nothing."""
    select: SelectSection = SelectSection()
    describe: DescribeSection = DescribeSection()
    score: ScoreSection = ScoreSection()
    steering: SteeringSection = SteeringSection()
    llm: LLMSection
    judge: LLMSection | None = None
    """Another model that judges; None is the explainer."""
    budget: BudgetSection = BudgetSection()
    operations: OperationsSection = OperationsSection()

    @property
    def is_matched(self) -> bool:
        """Whether latents are matched with those of the parent run."""
        return self.match is not None and self.run.parent is not None

    @property
    def carries_over(self) -> bool:
        """Whether matched latents may keep the parent's labels."""
        return self.is_matched and self.match is not None and self.match.carry_over

    def earlier_id(self, sae: str) -> str:
        """The id of the parent run's SAE with which the latents of this one are matched."""
        return (self.match and self.match.sae) or sae

    @property
    def judging(self) -> LLMSection:
        """The LLM that judges."""
        return self.judge or self.llm

    def source_of(self, sae: SaeSection) -> SaeSection:
        """The table that says where an SAE's files are: of a random one, those it is like."""
        return next(one for one in self.sae if one.id == (sae.random_like or sae.id))

    @model_validator(mode="before")
    @classmethod
    def _what_is_described_is_scored(cls, raw: Any) -> Any:
        """`describe.methods` given alone would else meet the defaults of `score.methods`."""
        if not isinstance(raw, dict):
            return raw
        described, score = raw.get("describe"), raw.get("score", {})
        if isinstance(described, dict) and "methods" in described and isinstance(score, dict):
            return {**raw, "score": {"methods": described["methods"], **score}}
        return raw

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        ids = [sae.id for sae in self.sae]
        if len(set(ids)) < len(ids):
            raise ValueError("two [[sae]] tables have the same `id`")
        trained = [sae.id for sae in self.sae if sae.random_like is None]
        for sae in self.sae:
            if sae.random_like is not None and sae.random_like not in trained:
                raise ValueError(
                    f"random_like of SAE {sae.id} is {sae.random_like}: name another [[sae]] of "
                    "this config that has weights of its own"
                )
        undescribed = set(self.score.methods) - set(self.describe.methods)
        if undescribed:
            raise ValueError(f"score.methods has {sorted(undescribed)}, not in describe.methods")
        unscored = set(self.score.three_set_methods) - set(self.score.methods)
        if unscored:
            raise ValueError(f"score.three_set_methods has {sorted(unscored)}, not scored")
        if self.score.texts_per_set > self.steering.num_prompts:
            raise ValueError(
                f"score.texts_per_set is {self.score.texts_per_set}: a set has a text for each of "
                f"as many prompts, and steering.num_prompts is {self.steering.num_prompts}"
            )
        evidence = self.evidence
        if (
            evidence.change_clamp == "kl"
            and evidence.change_clamp_size not in self.steering.kl_targets
        ):
            raise ValueError("evidence.change_clamp_size must be one of steering.kl_targets")
        for name in ("subject_workers", "llm_workers", "judge_workers"):
            bounds = getattr(self.operations, name)
            if isinstance(bounds, tuple) and bounds[0] > bounds[1]:
                raise ValueError(f"operations.{name} has bounds {list(bounds)} in the wrong order")
        return self


def bounds(workers: int | tuple[int, int] | Literal["auto"]) -> tuple[int, int | None]:
    """The smallest and largest size of a pool; None where the cluster alone bounds it."""
    if workers == "auto":
        return 1, None
    return workers if isinstance(workers, tuple) else (workers, workers)
