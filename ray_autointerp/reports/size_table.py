"""What takes room in a run, by table."""

from collections.abc import Mapping

from rich.table import Table


def size_table(sizes: Mapping[str, tuple[int, int]]) -> Table:
    """Objects and MB of each table, in the order given, and of all."""
    table = Table(title="what takes room", title_justify="left", box=None, pad_edge=False)
    table.add_column("table", no_wrap=True)
    for name in ("objects", "MB"):
        table.add_column(name, justify="right")
    all_of = (sum(number for number, _ in sizes.values()), sum(size for _, size in sizes.values()))
    for name, (number, size) in {**sizes, "all": all_of}.items():
        table.add_row(name, f"{number:,}", f"{size / 2**20:,.2f}")
    return table
