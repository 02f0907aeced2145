"""One guess: whoever knows a term of the field finds the file, and the file says the term."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ray_autointerp"

GUESSES = (
    # term, file, what it must define; the module's docstring must hold the term
    ("MaxAct", "methods/max_act.py", "ExampleSieve"),
    ("MaxAct", "prompts/max_act.py", "ask"),
    ("VocabProj", "methods/vocab_proj.py", "vocab_proj"),
    ("VocabProj", "prompts/vocab_proj.py", "ask"),
    ("TokenChange", "methods/token_change.py", "token_change"),
    ("TokenChange", "prompts/token_change.py", "ask"),
    ("clamping", "methods/clamp.py", "clamp"),
    ("clamped pass", "models/clamped_pass.py", "window_changes"),
    ("Raw", "prompts/ensemble.py", "ask"),
    ("Concat", "prompts/ensemble.py", "joined"),
    ("keywords", "methods/keywords.py", "keyword_description"),
    ("promoted", "methods/token_lists.py", "top_tokens"),
    ("suppressed", "methods/token_lists.py", "signed_lists"),
    ("hub", "methods/hub_stats.py", "hub_stats"),
    ("neighbours", "methods/neighbours.py", "nearest_neighbours"),
    ("fires", "methods/firing_stats.py", "latent_stats"),
    ("KL", "methods/kl.py", "kl_divergence"),
    ("KL target", "methods/steering.py", "KLSearch"),
    ("calibrate", "stages/calibrate.py", "run"),
    ("steering", "stages/steering.py", "run"),
    ("steered text", "models/steering.py", "steer"),
    ("sampling noise", "methods/gumbel.py", "gumbel_noise"),
    ("input-based", "methods/input_score.py", "input_score"),
    ("score", "methods/input_score.py", "auroc"),
    ("output-based", "methods/output_score.py", "output_score"),
    ("judge", "methods/output_score.py", "two_set_log_odds"),
    ("judge", "prompts/judge.py", "ask_two"),
    ("partner", "methods/panel_draw.py", "draw_opponents"),
    ("leak", "methods/word_overlap.py", "word_overlap_log_odds"),
    ("confidence intervals", "methods/intervals.py", "wilson_interval"),
    ("shingle", "methods/shingle.py", "split_of"),
    ("top activating examples", "prompts/max_act.py", "rendered"),
    ("sentences", "prompts/sentences.py", "ask"),
    ("corpus", "stages/corpus.py", "run"),
    ("documents", "stages/documents.py", "read_documents"),
    ("select", "stages/select.py", "run"),
    ("labels", "stages/publish.py", "publish_labels"),
    ("what flows", "records/flow.py", "FLOW"),
    ("schema", "records/schemas.py", "TABLES"),
    ("outcomes", "records/status.py", "STATUSES"),
    ("lies", "records/layout.py", "part_name"),
    ("seeds", "records/keys.py", "derive_seed"),
    ("cost", "plan/budget.py", "budget"),
    ("shards", "plan/shards.py", "num_shards"),
    ("ready", "plan/schedule.py", "Schedule"),
    ("decides", "plan/identity.py", "identity"),
    ("manifest", "stages/manifest.py", "open_run"),
    ("refused", "stages/check.py", "check"),
    ("hook point", "models/subject.py", "Subject"),
    ("SAELens", "models/sae.py", "Sae"),
    ("tokenizer", "models/tokenizer.py", "SubjectTokenizer"),
    ("planted", "models/planted.py", "write_planted"),
    ("narrow door", "llm/door.py", "LLM"),
    ("vLLM", "llm/vllm_engine.py", "VLLMEngine"),
    ("put-if-absent", "storage/store.py", "Store"),
    ("folder", "storage/folder.py", "FolderStore"),
    ("S3", "storage/s3.py", "S3Store"),
    ("If-None-Match", "storage/probe.py", "require_conditional_put"),
    ("Tables", "storage/parquet.py", "write_table"),
    ("Ray", "cluster/run_ray.py", "run_ray"),
    ("Ray actors", "cluster/workers.py", "SubjectWorker"),
    ("local runner", "stages/run_local.py", "run_local"),
    ("watches", "cluster/progress.py", "Progress"),
    ("latent", "reports/latent_card.py", "latent_card"),
    ("configuration", "config.py", "Config"),
    ("command", "cli.py", "label"),
    ("whole product", "pipeline.py", "label"),
)

STAIRCASES = {
    "max_act": ("methods", "prompts", "stages"),
    "vocab_proj": ("methods", "prompts", "stages"),
    "token_change": ("methods", "prompts", "stages"),
    "keywords": ("methods", "stages"),
    "hub_stats": ("methods", "stages"),
    "neighbours": ("methods", "stages"),
    "steering": ("methods", "models", "stages"),
    "input_score": ("methods", "stages"),
    "output_score": ("methods", "stages"),
}
"""A term keeps its name on every floor: listing NAME* shows the maths, the words and the step."""

TEXTS = (
    "max_act",
    "vocab_proj",
    "token_change",
    "ensemble_raw",
    "sentences",
    "judge_two",
    "judge_three",
)


def names_in(tree: ast.Module) -> set[str]:
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize(("term", "file", "defined"), GUESSES)
def test_term_is_found_in_one_guess(term: str, file: str, defined: str) -> None:
    path = PACKAGE / file
    assert path.is_file(), f"{term} should be in {file}"
    tree = ast.parse(path.read_text())
    words = " ".join((ast.get_docstring(tree) or "").split())
    assert term.lower() in words.lower(), f"{file} does not open by saying {term}"
    assert defined in names_in(tree), f"{file} does not define {defined}"


@pytest.mark.parametrize(("name", "floors"), STAIRCASES.items())
def test_term_keeps_its_name_on_every_floor(name: str, floors: tuple[str, ...]) -> None:
    assert {path.parent.name for path in PACKAGE.glob(f"*/{name}.py")} == set(floors)
    assert (ROOT / "tests" / "methods" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", TEXTS)
def test_prompt_is_a_text_file_of_its_own_name(name: str) -> None:
    assert (PACKAGE / "prompts" / "texts" / f"{name}.md").read_text().strip()


def test_every_module_opens_by_saying_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_steps_are_run_by_stages_of_their_names() -> None:
    from ray_autointerp.records.flow import FLOW

    assert [step.name for step in FLOW if not (PACKAGE / f"stages/{step.name}.py").is_file()] == []
