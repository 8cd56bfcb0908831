"""The canonical job with Ray Data in its fastest form: tasks of whole files, Polars within.

Usage: python ray_data_aligned.py FOLDER DESTINATION

Files hold whole days, so no shuffle is needed: `map_batches` over the paths reads and groups a day in each call.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import ray


def hourly_of(paths: pa.Table, countries: str) -> pa.Table:
    """Do the days of a batch of paths."""
    reference = pl.scan_csv(countries)
    days = [
        pl.scan_parquet(path)
        .filter(pl.col("amount") >= 0)
        .unique("event_id", keep="any")
        .with_columns(hour=pl.col("ts").dt.truncate("1h"), host=pl.col("url").str.split("/").list.get(2))
        .join(reference, on="country", how="left")
        .group_by("hour", "region", "event_type")
        .agg(events=pl.len(), amount=pl.col("amount").sum(), users=pl.col("user_id").n_unique())
        .collect()
        for path in paths["path"].to_pylist()
    ]
    return pl.concat(days).to_arrow()


def main(folder: Path, destination: Path) -> None:
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    paths = [str(path) for path in sorted(folder.glob("events-*.parquet"))]
    batch = max(1, len(paths) // (2 * len(os.sched_getaffinity(0))))
    hourly = (
        ray.data.from_arrow(pa.table({"path": paths}))
        .repartition(-(-len(paths) // batch))
        .map_batches(hourly_of, batch_format="pyarrow", fn_kwargs={"countries": f"{folder}/countries.csv"}, batch_size=None)
    )
    table = pa.concat_tables(ray.get(hourly.to_arrow_refs()), promote_options="permissive")
    ray.shutdown()
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", table)
        connection.execute("CREATE TABLE hourly AS SELECT * FROM hours")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
