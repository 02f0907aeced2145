"""The local runner: the schedule's ready tasks, one after another, in this process.

The same tasks, stages and order rules as on Ray; what the two write is equal byte for byte with
a scripted LLM.
"""

import asyncio

from ray_autointerp.llm.open import open_llm
from ray_autointerp.stages.answers import spent_before
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.execute import execute
from ray_autointerp.stages.purse import Purse
from ray_autointerp.stages.run import Run
from ray_autointerp.stages.worklist import Observer, Receipt, Worklist, now


def run_local(run: Run, observer: Observer) -> None:
    """Execute every missing task of the run. Raises what Worklist.failed raises."""
    worklist = Worklist(run, observer)
    if worklist.finished():
        return
    asyncio.run(_work(run, worklist))


async def _work(run: Run, worklist: Worklist) -> None:
    config = run.config
    llm = open_llm(config.llm, threads=config.operations.threads)
    judge = open_llm(config.judge, threads=config.operations.threads) if config.judge else None
    desk = Desk(run, llm=llm, judge=judge, purse=Purse(config, spent_before(run)))
    try:
        while not worklist.finished():
            task = worklist.ready()[0]
            worklist.start(task)
            started, clock = now()
            try:
                done = await execute(task, desk)
            except Exception as error:  # the ledger keeps every failed attempt
                seconds, usage = now()[1] - clock, desk.purse.claim(task)
                receipt = Receipt(task, started, seconds, "failed", "local", f"{error!r}", usage)
                worklist.failed(receipt, error, worker_died=False)
            else:
                seconds = now()[1] - clock
                worklist.done(
                    Receipt(task, started, seconds, "done", "local", done.detail, done.usage)
                )
    finally:
        await llm.close()
        if judge is not None:
            await judge.close()
        worklist.close()
