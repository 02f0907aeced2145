"""What each step passes through the subject, in words and tokens, before anything is done.

Counts are exact where the config fixes them (windows, clamps, requests) and upper bounds where
only the data does (alive latents).
"""

from ray_autointerp.methods.revival import attempts
from ray_autointerp.plan.controls import NEIGHBOUR, RANDOM_DIRECTION
from ray_autointerp.plan.sizes import Sizes, Work
from ray_autointerp.plan.units import (
    JUDGEMENTS_PER_UNIT,
    control_texts_per_latent,
    control_units,
    detection_requests,
    explain_requests,
    fuzzing_requests,
    sentence_requests,
    surprisal_requests,
    texts_per_latent,
    two_set_units,
    unseen_trials,
    unsteered_keys,
)

_SEARCH_PASSES = 25
"""Clamp values tried per latent and sign in calibration: about 13 to bracket, 12 to bisect."""

_PROMPT_TOKENS = 6
"""Tokens of a neutral prompt, about."""

_SENTENCE_TOKENS = 20
"""Tokens of a written sentence, about."""


def corpus(sizes: Sizes) -> Work:
    """Tokens that are written."""
    return Work(f"{sizes.config.corpus.num_tokens:,} tokens")


def max_act(sizes: Sizes) -> Work:
    """One pass to the deepest hook point."""
    tokens = sizes.config.corpus.num_tokens
    return Work(f"{tokens:,} tokens to layer {sizes.layer}", tokens)


def sae_fit(sizes: Sizes) -> Work:
    """A pass over the first tokens, for each SAE."""
    tokens = min(sizes.config.sae_fit.num_tokens, sizes.config.corpus.num_tokens)
    return Work(f"{tokens:,} tokens to layer {sizes.layer}", tokens)


def calibrate(sizes: Sizes) -> Work:
    """The search for clamp values."""
    prompts = sizes.config.steering.num_prompts
    return Work(
        f"{sizes.chosen} latents x 2 signs x about {_SEARCH_PASSES} values x {prompts} prompts, "
        f"{sizes.above} layers",
        sizes.chosen * 2 * _search_tokens(sizes),
    )


def _search_tokens(sizes: Sizes) -> int:
    """Tokens of one search for clamp values."""
    return _SEARCH_PASSES * sizes.config.steering.num_prompts * _PROMPT_TOKENS


def jacobian(sizes: Sizes) -> Work:
    """Backward sweeps; with a lens there are none."""
    evidence = sizes.config.evidence
    if evidence.has_lens:
        return Work(f"{sizes.hook_points} hook point(s) through {evidence.jacobian}")
    windows, window = evidence.jacobian_windows, evidence.change_window_tokens
    return Work(
        f"{sizes.hook_points} hook point(s) x {sizes.d_model} backward sweeps over {windows} "
        f"windows x {window} tokens, {sizes.above} layers",
        sizes.hook_points * sizes.d_model * windows * window,
    )


def input_map(sizes: Sizes) -> Work:
    """A pass to each place that is read."""
    evidence = sizes.config.evidence
    windows, window = evidence.input_windows, evidence.change_window_tokens
    return Work(
        f"{sizes.read_points} read point(s) x {windows} windows x {window} tokens, to layer "
        f"{sizes.layer}",
        sizes.read_points * windows * window,
    )


def free_scores(sizes: Sizes) -> Work:
    """Two clamps at one position."""
    return Work(
        f"{sizes.watched:,} latents x 2 clamps x 1 position, {sizes.above} layers",
        sizes.watched * 2,
    )


def agreement(sizes: Sizes) -> Work:
    """Exact passes of the sample on both sides of the split."""
    evidence = sizes.config.evidence
    windows = evidence.change_windows + evidence.agreement_windows
    return _exact_passes(sizes, sizes.sample, "strengths", windows)


def token_change(sizes: Sizes) -> Work:
    """Exact passes of the chosen latents."""
    return _exact_passes(sizes, sizes.chosen, "signs", sizes.config.evidence.change_windows)


def held_out_change(sizes: Sizes) -> Work:
    """Exact passes of the chosen latents on the score side."""
    windows = sizes.config.evidence.held_out_windows
    return _exact_passes(sizes, sizes.chosen, "strengths", windows)


def _exact_passes(sizes: Sizes, latents: int, twice: str, windows: int) -> Work:
    window = sizes.config.evidence.change_window_tokens
    return Work(
        f"{latents} latents x 2 {twice} x {windows} windows x {window} tokens, "
        f"{sizes.above} layers",
        latents * 2 * windows * window,
    )


def explain(sizes: Sizes) -> Work:
    """Requests for descriptions."""
    config = sizes.config
    explained = [method for method in config.describe.methods if method != "keywords"]
    calls = sum(explain_requests(method, config) for method in explained)
    return Work(f"{sizes.chosen} latents x {calls} calls")


def write_sentences(sizes: Sizes) -> Work:
    """Requests for sentences."""
    methods, draws = len(sizes.config.score.methods), sentence_requests("", sizes.config)
    return Work(f"{sizes.chosen} latents x {methods} methods x {draws} answers")


def detection(sizes: Sizes) -> Work:
    """Texts that are asked about."""
    return _asked_about(sizes, detection_requests("", sizes.config))


def fuzzing(sizes: Sizes) -> Work:
    """Texts that are asked about, each with two sets of marks."""
    return _asked_about(sizes, fuzzing_requests("", sizes.config))


def _asked_about(sizes: Sizes, judgements: int) -> Work:
    return Work(
        f"{sizes.chosen} latents x {len(sizes.config.score.methods)} methods x "
        f"{judgements} judgements"
    )


def input_score(sizes: Sizes) -> Work:
    """Passes over written sentences."""
    score = sizes.config.score
    draws = sentence_requests("", sizes.config)
    sentences = draws * 2 * score.num_sentences
    return Work(
        f"{sizes.chosen} latents x {len(score.methods)} methods x {draws} x "
        f"{2 * score.num_sentences} sentences",
        sizes.chosen * len(score.methods) * sentences * _SENTENCE_TOKENS,
    )


def carry_check(sizes: Sizes) -> Work:
    """Passes over the sentences of earlier labels, of the latents that are matched."""
    score = sizes.config.score
    sentences = score.num_draws * 2 * score.num_sentences
    return Work(
        f"at most {sizes.watched:,} latents x {sentences} sentences",
        sizes.watched * sentences * _SENTENCE_TOKENS,
    )


def revive(sizes: Sizes) -> Work:
    """Passes over lists' tokens and written sentences, of the dead latents that may be chosen."""
    config = sizes.config
    lists = (
        config.evidence.num_read_tokens,
        config.evidence.num_vocab_tokens,
        config.evidence.num_changed_tokens,
    )
    texts = [text for length in lists for text in attempts(range(length))]
    tokens = sum(1 + len(text.token_ids) for text in texts)
    sentences = (
        len(config.score.methods) * sentence_requests("", config) * config.score.num_sentences
    )
    return Work(
        f"at most {sizes.dead} latents x ({len(texts)} texts of tokens + {sentences} sentences)",
        sizes.dead * (tokens + sentences * _SENTENCE_TOKENS),
    )


def steering(sizes: Sizes) -> Work:
    """Texts generated under a clamp."""
    texts, tokens = len(texts_per_latent(sizes.config)), sizes.config.steering.new_tokens
    return Work(
        f"{sizes.chosen} latents x {texts} texts x {tokens} tokens",
        sizes.chosen * texts * tokens,
    )


def control_texts(sizes: Sizes) -> Work:
    """One search for each random direction and neighbour, and texts of each kind."""
    texts, tokens = len(control_texts_per_latent(sizes.config)), sizes.config.steering.new_tokens
    kinds = sizes.config.score.control_texts
    num_searched = len({RANDOM_DIRECTION, NEIGHBOUR} & {*kinds})
    searched = sizes.controls * _search_tokens(sizes) * num_searched
    return Work(
        f"{sizes.controls} latents x {len(kinds)} kinds x {texts} texts x {tokens} tokens",
        searched + sizes.controls * len(kinds) * texts * tokens,
    )


def output_score(sizes: Sizes) -> Work:
    """Judgements."""
    score = sizes.config.score
    units = sum(len(two_set_units(method, sizes.config)) for method in score.methods)
    more = len(score.methods) * len(score.control_texts) * len(control_units(sizes.config))
    return Work(
        f"({sizes.chosen} latents x {units} units + {sizes.controls} controls x {more}, of "
        f"{len(score.methods)} methods) x {JUDGEMENTS_PER_UNIT} judgements, of "
        f"{score.texts_per_set} texts, + {sizes.chosen} x {len(score.three_set_methods)} three-set"
    )


def unseen_tokens(sizes: Sizes) -> Work:
    """Judgements."""
    methods = sizes.config.score.methods
    trials = sum(len(unseen_trials(method, sizes.config)) for method in methods)
    return Work(
        f"{sizes.chosen} latents x {trials} trials of {len(methods)} methods x "
        f"{JUDGEMENTS_PER_UNIT} judgements"
    )


def unsteered_texts(sizes: Sizes) -> Work:
    """Texts without steering, shared by all latents of an SAE."""
    saes, texts = len(sizes.config.sae), len(unsteered_keys(sizes.config))
    tokens = sizes.config.steering.new_tokens
    return Work(f"{saes} SAE(s) x {texts} texts x {tokens} tokens", saes * texts * tokens)


def intervention_surprisal(sizes: Sizes) -> Work:
    """Log-probabilities of descriptions."""
    score = sizes.config.score
    requests = surprisal_requests("", sizes.config)
    return Work(
        f"{sizes.chosen} latents x {len(score.methods)} methods x {requests} log-probabilities, "
        f"after {score.texts_per_set} texts"
    )
