"""What is asked for, as files: the columns of `labels`, in the order that is shown."""

import io

import pyarrow.parquet as pq
from starlette.responses import Response

from ray_autointerp.reports.label_table import write_csv
from ray_autointerp.viewer.label_index import LabelIndex
from ray_autointerp.viewer.query import Query


def csv_file(index: LabelIndex, query: Query, name: str) -> Response:
    """As `ray-autointerp labels --csv` writes it: cells that a spreadsheet would run are text."""
    stream = io.StringIO()
    write_csv(index.label_table(*query.where(), query.order()), stream)
    return _file(stream.getvalue().encode(), "text/csv; charset=utf-8", f"{name}.csv")


def parquet_file(index: LabelIndex, query: Query, name: str) -> Response:
    """With the types that `labels.parquet` has."""
    sink = io.BytesIO()
    pq.write_table(index.label_table(*query.where(), query.order()), sink)
    return _file(sink.getvalue(), "application/vnd.apache.parquet", f"{name}.parquet")


def _file(data: bytes, kind: str, name: str) -> Response:
    return Response(
        data, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
