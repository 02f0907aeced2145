"""The web application: which URL shows what. Pages are made in this process; none needs a network.

A Content-Security-Policy forbids whatever does not come from this server, and inline scripts and
styles, so that text of models and corpora is text even if it were to reach a page unescaped.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ray_autointerp.errors import AutointerpError, UserError
from ray_autointerp.records.keys import slug, unslug
from ray_autointerp.reports.history_table import label_versions
from ray_autointerp.runs.run import Run
from ray_autointerp.viewer import browse, download
from ray_autointerp.viewer.compare_page import PAGE_ROWS as PAIRS
from ray_autointerp.viewer.compare_page import SHOWN, comparison
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.latent_page import LatentPage
from ray_autointerp.viewer.measures import BY_NAME
from ray_autointerp.viewer.query import PAGE_ROWS, Query, page_number, read_query
from ray_autointerp.viewer.scores import label_scores, verdict
from ray_autointerp.viewer.shown_text import shown_tokens
from ray_autointerp.viewer.templating import FOLDER, render
from ray_autointerp.viewer.viewed_run import ViewedRun

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


Activations = Callable[[Run, str, int, str], list[tuple[str, float]]]
"""Of a run's SAE, what a latent does on each token of a text."""


def viewer_app(
    runs: Mapping[str, ViewedRun],
    hosts: list[str] | None = None,
    activations: Activations | None = None,
) -> Starlette:
    """The application over these runs. `hosts` are the names it answers to; None is any. With
    `activations` a latent's page has a box to try texts in.
    """
    pages = _Pages(runs, activations)
    sae = "/runs/{run}/{sae}"
    routes = [
        Route("/", pages.home),
        Route("/compare", pages.compare),
        Route("/runs/{run}", pages.run),
        Route(f"{sae}/labels.csv", pages.csv),
        Route(f"{sae}/labels.parquet", pages.parquet),
        Route(sae, pages.browse),
        Route(f"{sae}/{{latent:int}}", pages.latent),
        Route(f"{sae}/{{latent:int}}/try", pages.tried),
        Route(f"{sae}/{{latent:int}}/history", pages.history),
        Route(f"{sae}/{{latent:int}}/cost", pages.cost),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]
    middleware = [Middleware(_SafeHeaders)]
    if hosts is not None:
        middleware.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=hosts))
    handlers: dict[Any, Callable[[Request, Exception], Response | Awaitable[Response]]] = {
        HTTPException: pages.error,
        AutointerpError: pages.error,
    }
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


class _SafeHeaders:
    """Adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), text.encode()) for name, text in _HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, guarded)


class _Pages:
    """One method per page."""

    def __init__(self, runs: Mapping[str, ViewedRun], activations: Activations | None) -> None:
        self._runs, self._activations = runs, activations

    def home(self, request: Request) -> Response:
        """The runs; the labels where there is but one SAE."""
        saes = [(run, sae) for run in self._runs.values() for sae in run.run.saes]
        if len(saes) == 1:
            run, sae = saes[0]
            return RedirectResponse(f"/runs/{run.key}/{slug(sae)}")
        listed = [(run, sae, run.index(sae)) for run, sae in saes]
        return self._page(request, "home.html", listed=listed)

    def run(self, request: Request) -> Response:
        """The report of a run."""
        run = self._run(request)
        return self._page(request, "run.html", run=run, report=run.report(), linked=True)

    def browse(self, request: Request) -> Response:
        """The table of labels."""
        run, sae, index, query = self._asked(request)
        count, rows = browse.label_page(index, query)
        return self._page(
            request,
            "browse.html",
            run=run,
            sae=sae,
            index=index,
            query=query,
            count=count,
            last_page=max(1, -(-count // PAGE_ROWS)),
            rows=[(row, label_scores(row)) for row in rows],
            facets=browse.facet_counts(index, query),
            histograms=browse.histograms(index, query),
            first_axes=browse.first_axes(index),
            plot=browse.scatter_plot(index, query),
            shown_measures=[one for one in index.measures if one.side],
            measures=BY_NAME,
        )

    def latent(self, request: Request) -> Response:
        """Everything about one latent."""
        run, sae, index, query = self._asked(request)
        latent = request.path_params["latent"]
        with run.lock:
            page = LatentPage(run.tables, sae, latent)
            (row,) = index.rows("select * from labels where latent = ?", [latent])
            scores = label_scores(row)
            before, after, place = browse.neighbours_in_order(index, query, latent)
            near = [one["latent"] for one in page.rows.neighbours[:8]]
            names = index.rows(
                "select latent, coalesce(name, label) as label from labels where "
                "list_contains(?::int[], latent)",
                [near],
            )
            return self._page(
                request,
                "latent.html",
                run=run,
                sae=sae,
                index=index,
                query=query,
                page=page,
                row=row,
                scores=scores,
                verdict=verdict(scores),
                before=before,
                after=after,
                place=place,
                near_labels={one["latent"]: one["label"] for one in names},
                has_try=self._activations is not None,
                trials_of=_trials_of(request, page, row["method"]),
            )

    def tried(self, request: Request) -> Response:
        """A text that was typed, with what the latent does on it."""
        run, sae, _, _ = self._asked(request)
        latent, text = request.path_params["latent"], request.query_params.get("text", "")
        if self._activations is None:
            raise HTTPException(404, "Start the viewer with --subject to try texts.")
        found = self._activations(run.run, sae, latent, text)
        with run.lock:
            stats = run.tables.row("latent_stats", sae, [latent])[latent]
        largest = max([stats["max_activation"] or 0.0, *(value for _, value in found)])
        shown = {
            "texts": [token for token, _ in found],
            "activations": [value for _, value in found],
            "peak": -1,
        }
        return self._page(
            request,
            "tried.html",
            tokens=list(shown_tokens(shown, largest)),
            peak=max((value for _, value in found), default=0.0),
        )

    def history(self, request: Request) -> Response:
        """The labels that the run and those before it gave the latent."""
        run, sae, _, _ = self._asked(request)
        with run.lock:
            versions = list(label_versions(run.run, sae, request.path_params["latent"]))
        return self._page(request, "history.html", versions=versions)

    def cost(self, request: Request) -> Response:
        """What a described latent cost, on average over those of the run."""
        run = self._run(request)
        return self._page(request, "cost.html", run=run, bill=run.bill())

    def compare(self, request: Request) -> Response:
        """Two SAEs, of the same or of two runs; the first two where none is named."""
        saes = {
            f"{run.key}/{slug(sae)}": (run, sae)
            for run in self._runs.values()
            for sae in run.run.saes
        }
        given = request.query_params
        first = given.get("a") or next(iter(saes))
        second = given.get("b") or next((key for key in saes if key != first), first)
        for key in (first, second):
            if key not in saes:
                raise UserError(f"`{key}` is not shown here: there are {', '.join(saes)}.")
        kind, page = given.get("show") or "changed", page_number(given.get("page") or "1")
        if kind not in SHOWN:
            raise UserError(f"`show` is one of {', '.join(SHOWN)}, not `{kind}`.")
        made = None
        if first != second:
            one, other = (run.index(sae) for run, sae in (saes[first], saes[second]))
            with saes[first][0].lock:
                made = comparison(one, other, kind, page)
        return self._page(
            request,
            "compare.html",
            choices=[(key, f"{run.key} · {sae}") for key, (run, sae) in saes.items()],
            first=first,
            second=second,
            made=made,
            kind=kind,
            page=page,
            last_page=max(1, -(-made.count // PAIRS)) if made else 1,
            bases=[f"/runs/{key}" for key in (first, second)],
        )

    def csv(self, request: Request) -> Response:
        """What is asked for, as CSV."""
        _, sae, index, query = self._asked(request)
        return download.csv_file(index, query, slug(sae))

    def parquet(self, request: Request) -> Response:
        """What is asked for, as Parquet."""
        _, sae, index, query = self._asked(request)
        return download.parquet_file(index, query, slug(sae))

    def error(self, request: Request, error: Exception) -> Response:
        """One sentence that says what to do."""
        if isinstance(error, HTTPException):
            status, said = error.status_code, str(error.detail)
        else:
            status, said = 400 if isinstance(error, UserError) else 500, str(error)
        if request.url.path.startswith("/static"):
            return PlainTextResponse(said, status)
        return self._page(request, "error.html", status, said=said)

    def _asked(self, request: Request) -> tuple[ViewedRun, str, LabelIndex, Query]:
        run = self._run(request)
        sae = unslug(request.path_params["sae"])
        if sae not in run.run.saes:
            raise HTTPException(
                404, f"The run {run.name} has no SAE {sae}: it has {', '.join(run.run.saes)}."
            )
        index = run.index(sae)
        query = read_query(request.query_params, index.measures)
        if query.words:
            query = replace(query, found=index.searched(query.words))
        return run, sae, index, query

    def _run(self, request: Request) -> ViewedRun:
        key = request.path_params["run"]
        if key not in self._runs:
            raise HTTPException(
                404, f"No run `{key}` is shown here: there are {', '.join(self._runs)}."
            )
        return self._runs[key]

    def _page(
        self, request: Request, template: str, status_code: int = 200, **values: Any
    ) -> Response:
        return render(template, status_code, request=request, runs=self._runs, **values)


def _trials_of(request: Request, page: LatentPage, method: str | None) -> str | None:
    """Whose judgements are shown: those asked for, the label's, or the first there are."""
    scored = [
        one.method
        for one in page.rows.descriptions
        if one.scores.keys() & {"output_score", "unseen_tokens", "detection", "fuzzing"}
    ]
    for name in (request.query_params.get("trials"), method):
        if name in scored:
            return name
    return scored[0] if scored else None
