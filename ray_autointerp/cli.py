"""The command line: one command per verb, each thin. Slow libraries load only when needed."""

import functools
import logging
import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ray_autointerp.config import Config
from ray_autointerp.config_file import read_config, with_llm
from ray_autointerp.errors import AutointerpError, UserError
from ray_autointerp.terminal.completion import (
    complete_method,
    complete_run,
    complete_sae,
    complete_sort,
)
from ray_autointerp.terminal.help_text import CHECK, CLUSTER, MAKE, READ, examples, top_level
from ray_autointerp.terminal.stop_signals import StopSignals

if TYPE_CHECKING:
    from ray_autointerp.runs.run import Run

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Label the latents of sparse autoencoders, by what activates them and by what they do.",
    epilog=top_level(),
)
PIPED_WIDTH = 120
"""Columns of what is printed into a pipe or a file, unless COLUMNS is set: no terminal's own, so
that the same command prints the same lines everywhere."""


def _new_console() -> Console:
    fixed = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(width=fixed)


_console = _new_console()
_stop_signals = StopSignals()

ConfigPath = Annotated[Path, typer.Argument(help="A TOML file; see jobs/demo/demo.toml.")]
RunUri = Annotated[
    str, typer.Argument(help="A run's folder or s3:// URI.", autocompletion=complete_run)
]
SaeId = Annotated[
    str | None,
    typer.Option("--sae", help="Which SAE, if the run has several.", autocompletion=complete_sae),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, to standard output.")]
Root = Annotated[str | None, typer.Option(help="Where the run's folder lies, over the config's.")]
Latents = Annotated[
    str | None, typer.Option(help="A range such as 0:256, over the config's, for every SAE.")
]
LLM = Annotated[
    str | None,
    typer.Option(
        "--llm",
        help="In place of the config's LLM: a hub name, a folder, or a server's URL, with its key "
        "in the environment; a server judges by choice.",
    ),
]
LLMModel = Annotated[
    str | None, typer.Option("--llm-model", help="The model that the server at --llm serves.")
]
Address = Annotated[
    str | None,
    typer.Option(help="The cluster's dashboard, http://HEAD:8265; else RAY_ADDRESS, or this host."),
]


@app.command(epilog=examples("label"), rich_help_panel=MAKE)
def label(
    config: ConfigPath,
    root: Root = None,
    latents: Latents = None,
    llm: LLM = None,
    llm_model: LLMModel = None,
    local: Annotated[bool, typer.Option(help="One process, no Ray.")] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Do not wait to see whether another drives the run.")
    ] = False,
) -> None:
    """Label whole SAEs; run it again to continue a run that stopped."""
    read = _overridden(read_config(config), root, latents, llm, llm_model)
    if take_over:
        operations = read.operations.model_copy(update={"take_over": True})
        read = read.model_copy(update={"operations": operations})
    with _continued():
        _label(read, local)


@app.command(epilog=examples("relabel"), rich_help_panel=MAKE)
def relabel(
    config: ConfigPath,
    root: Root = None,
    latents: Latents = None,
    llm: LLM = None,
    llm_model: LLMModel = None,
    local: Annotated[bool, typer.Option(help="One process, no Ray.")] = False,
    watch: Annotated[
        str | None, typer.Option(help="Poll again after each such time: 30m, 1h, 1d.")
    ] = None,
) -> None:
    """Label every new checkpoint of an SAE in training, once; one poll, unless --watch.

    With --watch a poll that fails is followed by the next one, but for the first.
    """
    from ray_autointerp.pipeline import relabel as relabel_checkpoints

    seconds = None if watch is None else _seconds(watch)
    read = _overridden(read_config(config), root, latents, llm, llm_model)

    def label_one(one: Config) -> "Run":
        _console.rule(one.run.name)
        return _label(one, local)

    def poll() -> int:
        found = relabel_checkpoints(
            read, label_one, lambda text: _console.print(text, markup=False)
        )
        _console.print(
            f"Labelled {len(found.runs)} checkpoint(s), could not label {found.num_refused}."
        )
        return found.num_refused

    with _continued():
        num_refused = poll()
        while seconds is not None:
            time.sleep(seconds)
            try:
                poll()
            except AutointerpError as error:
                _console.print(f"{error} The next poll tries again.", markup=False)
    raise typer.Exit(2 if num_refused else 0)


@app.command(epilog=examples("submit"), rich_help_panel=MAKE)
def submit(
    config: ConfigPath,
    address: Address = None,
    root: Root = None,
    latents: Latents = None,
    llm: LLM = None,
    llm_model: LLMModel = None,
    follow: Annotated[bool, typer.Option(help="Show the job's log until it ends.")] = False,
) -> None:
    """Label whole SAEs as a job of a Ray cluster; the current directory travels with it."""
    from ray_autointerp.cluster.jobs import Jobs
    from ray_autointerp.reports.announcement import job_lines
    from ray_autointerp.runs.manifest import run_uri

    read = _overridden(read_config(config), root, latents, llm, llm_model)
    given = {"--root": root, "--latents": latents, "--llm": llm, "--llm-model": llm_model}
    arguments = [part for name, value in given.items() if value for part in (name, value)]
    jobs, uri = Jobs(address), run_uri(read)
    for line in job_lines(read, uri, config):
        _console.print(line, markup=False, highlight=False, soft_wrap=True)
    job = jobs.submit(config, read, arguments)
    _console.print(f"Submitted as the job {job}. Next:", markup=False)
    for command in ("status", "stop"):
        _console.print(f"  ray-autointerp {command} {uri}", markup=False)
    if not follow:
        return
    of = ["--address", address] if address else []
    end = shlex.join(["ray-autointerp", "stop", uri, *of])
    with _stop_signals.saying(f"The job {job} goes on; end it with: {end}", _say):
        if not jobs.follow(job):
            raise typer.Exit(1)


@app.command(epilog=examples("show"), rich_help_panel=READ)
def show(run: RunUri, latent: int, sae: SaeId = None, json: Json = False) -> None:
    """Show one latent: examples with marked tokens, token lists, descriptions, scores."""
    from ray_autointerp.reports import json_document
    from ray_autointerp.reports.latent_card import latent_card
    from ray_autointerp.runs.manifest import load_run

    loaded = load_run(run)
    card = latent_card(loaded, _one_sae(loaded.saes, sae), latent)
    if json:
        _write_json(json_document.latent_document(loaded, card))
        return
    _console.print(card)


@app.command(epilog=examples("labels"), rich_help_panel=READ)
def labels(
    run: RunUri,
    sae: SaeId = None,
    chosen: Annotated[bool, typer.Option(help="Only latents the LLM described.")] = False,
    method: Annotated[
        str | None,
        typer.Option(help="Only labels by this method.", autocompletion=complete_method),
    ] = None,
    contains: Annotated[str | None, typer.Option(help="A regular expression.")] = None,
    min_input: Annotated[float | None, typer.Option(help="Least input AUROC.")] = None,
    min_output: Annotated[float | None, typer.Option(help="Least output win rate.")] = None,
    sort: Annotated[
        str,
        typer.Option(
            help="latent, density, s_in, s_out, effect_kl, keyword_f1, input_auroc, "
            "output_win_rate.",
            autocompletion=complete_sort,
        ),
    ] = "latent",
    limit: Annotated[int, typer.Option(help="Rows shown; --csv and --json write all.")] = 40,
    wide: Annotated[
        bool, typer.Option("--wide", help="Whole labels, with method, density and scores.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="All columns, to standard output.")] = False,
    json: Json = False,
) -> None:
    """Show the labels of a run, a line each; in a pipe 120 columns wide, or as COLUMNS says."""
    from ray_autointerp.reports import json_document, label_table
    from ray_autointerp.runs.manifest import load_run

    if sort not in label_table.SORT_COLUMNS:
        raise UserError(f"Cannot sort by `{sort}`; choose {', '.join(label_table.SORT_COLUMNS)}.")
    loaded = load_run(run)
    sae = _one_sae(loaded.saes, sae)
    only = label_table.Filter(chosen, method, contains, min_input, min_output)
    table = label_table.filtered(label_table.labels(loaded, sae), only, sort)
    if csv:
        label_table.write_csv(table, sys.stdout)
        return
    if json:
        _write_json(json_document.labels_document(loaded, sae, table))
        return
    title = f"{sae}: {table.num_rows:,} labels" + (
        f", the first {limit}" if table.num_rows > limit else ""
    )
    shown = label_table.wide_label_table if wide else label_table.LabelLines
    _console.print(shown(table.slice(0, limit), title))


@app.command(epilog=examples("search"), rich_help_panel=READ)
def search(
    run: RunUri,
    text: Annotated[list[str], typer.Argument(help="What a label is to hold, or to be about.")],
    sae: SaeId = None,
    semantic: Annotated[
        bool, typer.Option("--semantic", help="By meaning; embeds each label once.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="With --semantic: a folder or hub name, over all-MiniLM-L6-v2."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Labels shown of each SAE.")] = 20,
    json: Json = False,
) -> None:
    """Find labels that hold every word of a text, or with --semantic those nearest in meaning."""
    from ray_autointerp.reports import json_document
    from ray_autointerp.reports.label_table import LabelLines
    from ray_autointerp.reports.labelled_run import read_run

    if model is not None and not semantic:
        raise UserError("--model names an embedding model: give --semantic with it.")
    embed = None
    if semantic:
        from ray_autointerp.models.text_embedding import DEFAULT_MODEL, TextEmbedding

        embed = TextEmbedding(model or DEFAULT_MODEL)
    read = read_run(run)
    saes = read.saes if sae is None else (_one_sae(read.saes, sae),)
    with Console(stderr=True).status("Comparing labels with the text."):
        asked = " ".join(text)
        found = {one: read.search(asked, one, embed) for one in saes}
    if json:
        shown = {one: table.slice(0, limit) for one, table in found.items()}
        _write_json(json_document.search_document(run, asked, shown))
        return
    for one, table in found.items():
        count = "nearest in meaning first" if semantic else f"{table.num_rows:,} found"
        _console.print(LabelLines(table.slice(0, limit), f"{one}: {count}"))


@app.command(epilog=examples("view"), rich_help_panel=READ)
def view(
    runs: Annotated[
        list[str],
        typer.Argument(help="Folders or s3:// URIs of runs.", autocompletion=complete_run),
    ],
    port: Annotated[int, typer.Option(help="0 finds a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Another address than loopback lets its network read the runs.")
    ] = "127.0.0.1",
    subject: Annotated[
        bool,
        typer.Option("--subject", help="Load the model when asked, to try a latent on any text."),
    ] = False,
) -> None:
    """Serve web pages of one or more runs: browse and search labels, look at latents, compare.

    A run may still be growing. Ctrl-C ends it.
    """
    from ray_autointerp.viewer.server import view as serve

    activations = None
    if subject:
        from ray_autointerp.passes.typed_text import TypedText

        activations = TypedText()
    say = functools.partial(_console.print, markup=False, soft_wrap=True)
    serve(runs, host, port, say, activations)


@app.command(epilog=examples("report"), rich_help_panel=READ)
def report(
    run: RunUri,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; else <run>-report.html, here.")
    ] = None,
) -> None:
    """Write a run's report as one HTML file with its plots, to keep or to send."""
    from ray_autointerp.viewer.report_file import report_file

    path = out or Path(f"{run.rstrip('/').rpartition('/')[2] or 'run'}-report.html")
    written = report_file(run).encode()
    try:
        path.write_bytes(written)
    except OSError as error:
        raise UserError(
            f"Cannot write {path} ({error.strerror}); name another by --out."
        ) from error
    _console.print(f"Wrote {path} ({len(written) / 1000:,.0f} kB).", markup=False, highlight=False)


@app.command(epilog=examples("compare"), rich_help_panel=READ)
def compare(
    run: RunUri,
    other: Annotated[
        str | None,
        typer.Argument(
            help="A second run, compared latent by latent.", autocompletion=complete_run
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Every mean, floor and lift, to standard output.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare methods and runs: scores over shuffled floors, chance, paired differences."""
    from ray_autointerp.reports import json_document
    from ray_autointerp.reports.compare import write_csv
    from ray_autointerp.reports.compare_table import comparison
    from ray_autointerp.reports.run_scores import run_scores
    from ray_autointerp.runs.manifest import load_run

    groups = [
        [run_scores(loaded, sae) for sae in loaded.saes]
        for loaded in map(load_run, filter(None, (run, other)))
    ]
    if csv:
        write_csv([scores for group in groups for scores in group], sys.stdout)
        return
    theirs = groups[1] if other else []
    if json:
        _write_json(json_document.comparison_document(groups[0], theirs))
        return
    for part in comparison(groups[0], theirs):
        _console.print(part)


@app.command(epilog=examples("agreement"), rich_help_panel=READ)
def agreement(run: RunUri, sae: SaeId = None, json: Json = False) -> None:
    """Show how far each estimate of TokenChange can be believed, against its windows."""
    from ray_autointerp.reports import json_document
    from ray_autointerp.reports.agreement_table import agreement_table
    from ray_autointerp.runs.manifest import load_run

    loaded = load_run(run)
    sae = _one_sae(loaded.saes, sae)
    if json:
        _write_json(json_document.agreement_document(loaded, sae))
        return
    _console.print(agreement_table(loaded, sae))


@app.command(epilog=examples("matches"), rich_help_panel=READ)
def matches(
    run: RunUri,
    sae: SaeId = None,
    limit: Annotated[int, typer.Option(help="Labels shown that differ.")] = 20,
    json: Json = False,
) -> None:
    """Compare an SAE with the parent run's: latents that are the same, new or lost, labels."""
    from ray_autointerp.reports import json_document
    from ray_autointerp.reports.match_table import match_summary, match_tables
    from ray_autointerp.runs.manifest import load_run

    loaded = load_run(run)
    summary = match_summary(loaded, _one_sae(loaded.saes, sae))
    if json:
        _write_json(json_document.matches_document(loaded, summary))
        return
    for part in match_tables(summary, limit):
        _console.print(part, markup=False, highlight=False)


@app.command(epilog=examples("status"), rich_help_panel=CLUSTER)
def status(run: RunUri, json: Json = False) -> None:
    """Say how far a run is, who drives it, at what rate, and what it has cost."""
    from ray_autointerp.reports import json_document, status_table
    from ray_autointerp.runs.manifest import load_run

    if json:
        _write_json(json_document.status_document(status_table.status(load_run(run))))
        return
    _console.print(status_table.status_table(status_table.status(load_run(run))))


@app.command(epilog=examples("stop"), rich_help_panel=CLUSTER)
def stop(run: RunUri, address: Address = None) -> None:
    """End the job that drives a run; what is finished is kept, and `submit` continues it."""
    from ray_autointerp.cluster.jobs import Jobs

    job = Jobs(address).stop(run)
    said = "No job of this cluster drives" if job is None else f"Stopped the job {job} of"
    _console.print(f"{said} {run}.", markup=False)


@app.command(epilog=examples("history"), rich_help_panel=CLUSTER)
def history(
    run: RunUri,
    latent: Annotated[int | None, typer.Argument(help="Show this latent's labels.")] = None,
    sae: SaeId = None,
    json: Json = False,
) -> None:
    """Show the runs that a run follows: what each took over and made, or its label of a latent."""
    from ray_autointerp.reports import history_table as of
    from ray_autointerp.runs.manifest import load_run

    loaded = load_run(run)
    if latent is None:
        runs = list(of.run_history(loaded))
        if json:
            _write_json({"run": run, "runs": runs})
        else:
            _console.print(of.history_table(runs))
        return
    found = list(of.label_versions(loaded, _one_sae(loaded.saes, sae), latent))
    if json:
        _write_json({"run": run, "labels": found})
    else:
        _console.print(of.label_history_table(found))


@app.command(epilog=examples("bill"), rich_help_panel=CLUSTER)
def bill(
    run: RunUri,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file whose prices count, not the run's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what the LLM cost at each step, and how busy the workers of each pool were."""
    from ray_autointerp.reports import bill_table, json_document
    from ray_autointerp.reports.pool_table import pool_table, pool_use
    from ray_autointerp.runs.manifest import load_run

    prices = read_config(config) if config is not None else None
    loaded = load_run(run)
    made, used = bill_table.bill(loaded, prices), pool_use(loaded)
    if json:
        _write_json(json_document.bill_document(loaded, made, used))
        return
    _console.print(bill_table.bill_table(made))
    if used:
        _console.print()
        _console.print(pool_table(used))


@app.command(epilog=examples("prune"), rich_help_panel=CLUSTER)
def prune(
    run: RunUri,
    answers: Annotated[
        bool, typer.Option("--answers", help="Delete the LLM's raw answers of a finished run.")
    ] = False,
) -> None:
    """Show what takes room in a run; drop what its tables repeat. No table is ever deleted."""
    from ray_autointerp.reports.size_table import size_table
    from ray_autointerp.runs.manifest import load_run
    from ray_autointerp.runs.prune import drop_answers, sizes_by_table
    from ray_autointerp.storage.store import open_store

    loaded = load_run(run)
    if answers:
        _console.print(f"Deleted {drop_answers(loaded) / 2**20:,.1f} MB of raw answers.")
    _console.print(size_table(sizes_by_table(open_store(loaded.uri))))


@app.command(epilog=examples("plan"), rich_help_panel=CHECK)
def plan(
    config: ConfigPath,
    root: Root = None,
    latents: Latents = None,
    llm: LLM = None,
    llm_model: LLMModel = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Load the subject and the SAEs on this machine, and measure first whether each "
            "fits: what the run does before anything else. Without it no model is loaded.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Say what a run would do and cost, and do nothing; whether its SAEs fit, with --fit."""
    from ray_autointerp.plan.estimate import estimate
    from ray_autointerp.preflight.check import check
    from ray_autointerp.preflight.first_window import first_window
    from ray_autointerp.preflight.forecast import forecast
    from ray_autointerp.reports import json_document
    from ray_autointerp.reports.plan_table import plan_table

    read = _overridden(read_config(config), root, latents, llm, llm_model)
    checked = check(read, fetch_saes=fit)
    foreseen = forecast(checked.config, checked.axes)
    if json:
        steps = estimate(checked.config, checked.axes, checked.subject.num_layers, checked.layer)
        _write_json(json_document.plan_document(checked.config, checked.axes, steps, foreseen))
        return
    _console.print(
        plan_table(
            checked.config,
            checked.axes,
            checked.subject.num_layers,
            checked.layer,
            checked.subject.num_parameters,
            foreseen,
            first_window(checked.config, checked.subject.vocab_size),
        )
    )
    if not fit:
        _console.print(
            "Whether its SAEs fit, `plan --fit` measures now, the run first.", style="dim"
        )
        return
    from ray_autointerp.plan.fit_verdict import fit_verdict
    from ray_autointerp.preflight.sae_fit import sae_fits
    from ray_autointerp.reports.sae_fit_table import sae_fit_table

    section = checked.config.sae_fit
    with _console.status("Loading the subject, and looking at each SAE."):
        fits = [(f.row, fit_verdict(f.row, section, f.elsewhere)) for f in sae_fits(checked)]
    _console.print(sae_fit_table(fits), highlight=False)


@app.command(epilog=examples("doctor"), rich_help_panel=CHECK)
def doctor(
    root: Annotated[str, typer.Option(help="The store to probe.")] = "runs",
    model: Annotated[
        str, typer.Option(help='What vLLM is started with; "" leaves that out.')
    ] = "~/.cache/ray_autointerp/SmolLM2-135M-Instruct",
) -> None:
    """Say what is installed, which GPUs there are, whether the store and vLLM work."""
    from ray_autointerp.preflight.doctor import examine

    findings = []
    for finding in examine(root, model):
        mark = "[green]ok[/green]" if finding.is_well else "[red]no[/red]"
        _console.print(f"{mark}  {finding.what}: {escape(finding.detail)}", highlight=False)
        findings.append(finding)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: what the user can mend is one sentence and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        with _stop_signals:
            app(prog_name="ray-autointerp")
    except UserError as error:
        _say(str(error), style="red")
        sys.exit(2)
    except AutointerpError as error:
        _say(str(error))
        sys.exit(1)


def _say(sentence: str, style: str | None = None) -> None:
    """On standard error, in one line: it may be copied."""
    Console(stderr=True).print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)


def _continued() -> AbstractContextManager[None]:
    """What is done inside goes on where the same command is given again, once it was stopped."""
    command = shlex.join(["ray-autointerp", *sys.argv[1:]])
    return _stop_signals.saying(
        f"Stopped. What is finished is kept; continue with: {command}", _say
    )


def _write_json(document: Mapping[str, Any]) -> None:
    from ray_autointerp.reports.json_document import write_json

    write_json(document, sys.stdout)


def _label(config: Config, local: bool) -> "Run":
    """Label with the progress display, then show the result."""
    from ray_autointerp.cluster.progress import Progress
    from ray_autointerp.labelling import label_with

    with Progress(_console) as progress:
        run = label_with(config, local, progress)
    _show_result(run.uri, config)
    return run


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdigit() or not int(number):
        raise UserError(f"--watch takes a time such as 30m, 1h or 1d, not `{text}`.")
    return int(number) * units[unit]


def _overridden(
    config: Config,
    root: str | None,
    latents: str | None,
    llm: str | None,
    llm_model: str | None,
) -> Config:
    raw = config.model_dump(mode="json")
    if llm is not None or llm_model is not None:
        section = with_llm(config.llm, llm or "", llm_model)
        raw["llm"] = section.model_dump(mode="json")
        if section.backend == "endpoint" and config.judge is None:
            raw["score"]["judged_by"] = "choice"  # a server tells no likelihoods
    if root is not None:
        raw["run"]["root"] = root
    if latents is not None:
        for section in raw["sae"]:
            section["latents"] = latents
    try:
        return Config.model_validate(raw)
    except ValueError as error:
        raise UserError(f"--latents takes a range such as 0:256, not `{latents}`.") from error


def _one_sae(saes: tuple[str, ...], asked: str | None) -> str:
    if asked is None and len(saes) == 1:
        return saes[0]
    if asked not in saes:
        raise UserError(f"Name an SAE with --sae; the run has {', '.join(saes)}.")
    return asked


def _show_result(uri: str, config: Config) -> None:
    from ray_autointerp.reports.bill_table import bill
    from ray_autointerp.reports.compare import off_chance_sentence
    from ray_autointerp.reports.label_table import Filter, LabelLines, basis, filtered, labels
    from ray_autointerp.reports.ledger import step_times, time_table
    from ray_autointerp.reports.pool_table import pool_sentence, pool_use
    from ray_autointerp.reports.revival_table import revival_sentence
    from ray_autointerp.runs.manifest import load_run

    run = load_run(uri)
    for sae in run.saes:
        described = filtered(labels(run, sae), Filter(described_only=True))
        title = f"{sae}: labels of the chosen latents"
        _console.print(LabelLines(described.slice(0, 20), title))
        _console.print()
    _console.print(basis(run) + "\n", markup=False)
    for sentence in filter(None, (revival_sentence(run), off_chance_sentence(run))):
        _console.print(sentence + "\n", markup=False)
    _console.print(time_table(step_times(run)))
    _console.print(f"\n{bill(run, config).sentence}", markup=False, highlight=False)
    if used := pool_sentence(pool_use(run)):
        _console.print(used, markup=False, highlight=False)
    _console.print(f"\nThe tables lie in {uri}. Next:", markup=False)
    latent = described["latent"][0].as_py() if described.num_rows else run.axes.latents[sae].start
    for command in (
        f"ray-autointerp labels {uri}",
        f"ray-autointerp view {uri}",
        f"ray-autointerp show {uri} {latent}",
        f"ray-autointerp compare {uri}",
        f"ray-autointerp agreement {uri}",
        f"ray-autointerp bill {uri}",
        f"ray-autointerp labels {uri} --csv > labels.csv",
    ):
        _console.print(f"  {command}", markup=False)


if __name__ == "__main__":  # as a job: the package travels with it, its command does not
    main()
