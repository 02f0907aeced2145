"""An observer of a run that keeps every receipt."""

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.execution.tracker import Receipt


class Kept(Silent):
    """What ended, in its order."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    def ended(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    @property
    def steps(self) -> set[str]:
        """Which steps did anything."""
        return {receipt.task.step for receipt in self.receipts}
