"""The canonical job with Ray Data's own reader, a block a file. Usage: python ray_data_read.py FOLDER DESTINATION"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import ray

COLUMNS = ["event_id", "ts", "user_id", "country", "event_type", "amount", "url"]


def hourly_of(block: pa.Table, countries: pl.DataFrame) -> pa.Table:
    """Do one day."""
    return (
        pl.from_arrow(block)
        .lazy()
        .filter(pl.col("amount") >= 0)
        .unique("event_id", keep="any")
        .with_columns(hour=pl.col("ts").dt.truncate("1h"), host=pl.col("url").str.split("/").list.get(2))
        .join(countries.lazy(), on="country", how="left")
        .group_by("hour", "region", "event_type")
        .agg(events=pl.len(), amount=pl.col("amount").sum(), users=pl.col("user_id").n_unique())
        .collect()
        .to_arrow()
    )


def main(folder: Path, destination: Path) -> None:
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 4 * 1024**3  # a day must stay one block: rows are deduplicated within it
    paths = [str(path) for path in sorted(folder.glob("events-*.parquet"))]
    hourly = ray.data.read_parquet(paths, columns=COLUMNS, override_num_blocks=len(paths)).map_batches(
        hourly_of, batch_format="pyarrow", batch_size=None, fn_kwargs={"countries": pl.read_csv(folder / "countries.csv")}
    )
    table = pa.concat_tables(ray.get(hourly.to_arrow_refs()), promote_options="permissive")
    ray.shutdown()
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", table)
        connection.execute("CREATE TABLE hourly AS SELECT * FROM hours")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
