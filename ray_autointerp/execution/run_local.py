"""The local runner: the schedule's ready tasks, one after another, in this process.

The same tasks, stages and order rules as on Ray; what the two write is equal byte for byte with
a scripted LLM.
"""

from ray_autointerp.execution import event_loop
from ray_autointerp.execution.execute import execute
from ray_autointerp.execution.tracker import Observer, Receipt, RunTracker, now
from ray_autointerp.llm.open import check_judge, open_llm
from ray_autointerp.plan.answer_kinds import answer_kinds
from ray_autointerp.plan.flow import step_named
from ray_autointerp.runs.answers import spent_before
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.spending import Spending


def run_local(run: Run, observer: Observer) -> None:
    """Execute every missing task of the run. Raises what RunTracker.failed raises."""
    tracker = RunTracker(run, observer)
    if tracker.finished():
        return
    try:
        event_loop.run(_work(run, tracker))
    finally:
        tracker.close()


async def _work(run: Run, tracker: RunTracker) -> None:
    config = run.config
    threads = config.operations.threads
    llm = open_llm(config.llm, threads=threads, kinds=answer_kinds(config, "llm"))
    judge = None
    if config.judge:
        judge = open_llm(config.judge, threads=threads, kinds=answer_kinds(config, "judge"))
    is_judge_checked = False
    context = WorkerContext(run, llm=llm, judge=judge, spending=Spending(config, spent_before(run)))
    try:
        while not tracker.finished():
            tracker.require_lease()
            task = tracker.take()
            assert task is not None, "nothing is ready: the flow has a hole"
            started, clock = now()
            try:
                if not is_judge_checked and step_named(task.step).pool == "llm":
                    await check_judge(config)
                    is_judge_checked = True
                done = await execute(task, context)
            except Exception as error:  # the ledger keeps every failed attempt
                seconds, usage = now()[1] - clock, context.spending.claim(task)
                receipt = Receipt(task, started, seconds, "failed", "local", f"{error!r}", usage)
                tracker.failed(receipt, error, worker_died=False)
            else:
                seconds = now()[1] - clock
                tracker.done(
                    Receipt(task, started, seconds, "done", "local", done.detail, done.usage)
                )
    finally:
        await llm.close()
        if judge is not None:
            await judge.close()
