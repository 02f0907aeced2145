"""What `--help` teaches beyond the options: a first session, exit codes, examples to paste."""

from collections.abc import Mapping

MAKE, READ, CLUSTER, CHECK = "Make", "Read", "Runs and cluster", "Check"
"""Panels of the commands, in the order of the top-level help."""

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "the run failed, or something is left undone; what is finished is kept",
    2: "you must mend something first: one sentence says what",
    130: "Ctrl-C; `view`, which ends no other way, ends with 0",
    143: "SIGTERM",
}

_DEMO = "jobs/demo/demo.toml"
_RUN = "runs/demo-1/demo"

FIRST_SESSION = (
    "ray-autointerp doctor",
    f"ray-autointerp plan {_DEMO}",
    f"ray-autointerp label {_DEMO} --root runs/demo-1",
    f"ray-autointerp labels {_RUN}",
    f"ray-autointerp view {_RUN}",
)

EXAMPLES: Mapping[str, Mapping[str, str]] = {
    "label": {
        "The demo's SAE, on this machine or the cluster that RAY_ADDRESS names": (
            f"label {_DEMO} --root runs/demo-1"
        ),
        "256 latents of each SAE, in one process": f"label {_DEMO} --latents 0:256 --local",
        "With the LLM of a server of your own": (
            "label my.toml --llm http://HOST:8000/v1 --llm-model NAME"
        ),
    },
    "relabel": {
        "One look for new checkpoints, as a cron job does": "relabel checkpoints.toml",
        "A look every half hour, until Ctrl-C": "relabel checkpoints.toml --watch 30m",
    },
    "plan": {
        "Steps, requests, tokens, money": f"plan {_DEMO}",
        "And whether the SAEs fit the subject": f"plan {_DEMO} --fit",
        "What 4,096 latents would cost, as JSON": f"plan {_DEMO} --latents 0:4096 --json",
    },
    "submit": {
        "As a job of the cluster that RAY_ADDRESS names; results on S3": (
            "submit my.toml --root s3://bucket/runs"
        ),
        "Of another cluster; its log is shown until it ends": (
            "submit my.toml --address http://HEAD:8265 --follow"
        ),
    },
    "stop": {
        "End the job; submit it again to continue": (
            "stop s3://bucket/runs/demo --address http://HEAD:8265"
        ),
    },
    "status": {
        "Of a run on S3, while it is driven elsewhere": "status s3://bucket/runs/demo",
        "For a script": f"status {_RUN} --json",
    },
    "show": {
        "Latent 7": f"show {_RUN} 7",
        "As JSON, with every example and score": f"show {_RUN} 7 --json",
    },
    "labels": {
        "The best by input AUROC, of those that an LLM described": (
            f"labels {_RUN} --chosen --sort input_auroc"
        ),
        "Labels that speak of numbers": f"labels {_RUN} --contains 'number|digit' --wide",
        "All columns, as a file": f"labels {_RUN} --csv > labels.csv",
    },
    "search": {
        "Labels that hold both words": f"search {_RUN} opening bracket",
        "The nearest in meaning": f"search {_RUN} 'words about the sea' --semantic",
    },
    "view": {
        "Open the page that it names": f"view {_RUN}",
        "Two runs side by side": f"view {_RUN} runs/other/demo --port 0",
        "With the model, to try a latent on any text": f"view {_RUN} --subject",
    },
    "report": {
        "One HTML file, to keep or to send": f"report {_RUN} --out demo.html",
    },
    "agreement": {"Of the run's SAE": f"agreement {_RUN}"},
    "compare": {
        "The methods of one run": f"compare {_RUN}",
        "Two runs, latent by latent": f"compare {_RUN} runs/other/demo",
    },
    "history": {
        "The runs that it follows": f"history {_RUN}",
        "The labels of latent 7 in them": f"history {_RUN} 7",
    },
    "matches": {
        "With all labels that differ": f"matches {_RUN} --limit 1000",
    },
    "prune": {
        "What takes room; deletes nothing": f"prune {_RUN}",
        "Drop the raw answers of a finished run": f"prune {_RUN} --answers",
    },
    "bill": {
        "What it has cost": f"bill {_RUN}",
        "At the prices of another config": f"bill {_RUN} --config {_DEMO}",
    },
    "doctor": {
        "This machine, and the demo's LLM": "doctor",
        "Whether a bucket works; no LLM is started": "doctor --root s3://bucket/runs --model ''",
    },
}
"""By command, what each example does and the example, without the program's name."""


def examples(command: str) -> str:
    """The end of a command's help."""
    lines = ["[bold]Examples[/bold]"]
    for what, line in EXAMPLES[command].items():
        lines += [f"[dim]{what}:[/dim]", f"  ray-autointerp {line}"]
    return "\n".join(lines)


def top_level() -> str:
    """The end of the top-level help."""
    session = (f"  {line}" for line in FIRST_SESSION)
    codes = (f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    return "\n".join(
        ["[bold]A first session[/bold]", *session, "", "[bold]Exit codes[/bold]", *codes]
    )
