"""The canonical job with Ray Data's own reader and a shuffle by day. Usage: python ray_data_shuffle.py FOLDER DESTINATION

The reader cuts large files into blocks as it sees fit, so rows of a day must be brought together before they are deduplicated.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import ray

COLUMNS = ["event_id", "ts", "user_id", "country", "event_type", "amount", "url"]


def prepared(block: pa.Table, countries: pl.DataFrame) -> pa.Table:
    """Reject, derive and look up."""
    return (
        pl.from_arrow(block)
        .lazy()
        .filter(pl.col("amount") >= 0)
        .with_columns(
            day=pl.col("ts").dt.epoch("d"), hour=pl.col("ts").dt.truncate("1h"), host=pl.col("url").str.split("/").list.get(2)
        )
        .join(countries.lazy(), on="country", how="left")
        .select("day", "event_id", "hour", "region", "event_type", "amount", "user_id")
        .collect()
        .to_arrow()
    )


def hourly_of(day: pa.Table) -> pa.Table:
    """Deduplicate and group one day."""
    return (
        pl.from_arrow(day)
        .lazy()
        .unique("event_id", keep="any")
        .group_by("hour", "region", "event_type")
        .agg(events=pl.len(), amount=pl.col("amount").sum(), users=pl.col("user_id").n_unique())
        .collect()
        .to_arrow()
    )


def main(folder: Path, destination: Path) -> None:
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    paths = [str(path) for path in sorted(folder.glob("events-*.parquet"))]
    countries = pl.read_csv(folder / "countries.csv")
    hourly = (
        ray.data.read_parquet(paths, columns=COLUMNS)
        .map_batches(prepared, batch_format="pyarrow", fn_kwargs={"countries": countries})
        .groupby("day")
        .map_groups(hourly_of, batch_format="pyarrow")
    )
    table = pa.concat_tables(ray.get(hourly.to_arrow_refs()), promote_options="permissive")
    ray.shutdown()
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", table)
        connection.execute("CREATE TABLE hourly AS SELECT * FROM hours")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
