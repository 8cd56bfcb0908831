"""The canonical job with Dask's DataFrame over one file a partition. Usage: python dask_dataframe.py FOLDER DESTINATION

Files hold whole days, so rows are deduplicated and grouped within a partition, as the best practices of Dask advise for data
that is laid out so: no shuffle, and all cores at work.
"""

from __future__ import annotations

import sys
from pathlib import Path

import dask
import dask.dataframe as dd
import duckdb
import pandas as pd

META = {
    "hour": "datetime64[us]",
    "region": "string",
    "event_type": "string",
    "events": "int64",
    "amount": "float64",
    "users": "int64",
}
COLUMNS = ["event_id", "ts", "user_id", "country", "event_type", "amount", "url"]


def hourly_of(day: pd.DataFrame, countries: pd.DataFrame) -> pd.DataFrame:
    """Do one day."""
    rows = day[day["amount"] >= 0].drop_duplicates("event_id")
    rows = rows.assign(hour=rows["ts"].dt.floor("h"), host=rows["url"].str.split("/").str[2]).merge(
        countries, on="country", how="left"
    )
    grouped = rows.groupby(["hour", "region", "event_type"], as_index=False)
    hourly = grouped.agg(events=("event_id", "size"), amount=("amount", "sum"), users=("user_id", "nunique"))
    return hourly.astype({"region": "string", "event_type": "string"})


def main(folder: Path, destination: Path) -> None:
    countries = pd.read_csv(folder / "countries.csv", dtype_backend="pyarrow")
    events = dd.read_parquet(f"{folder}/events-*.parquet", columns=COLUMNS, split_row_groups=False, aggregate_files=False)
    with dask.config.set(scheduler="processes" if sys.argv[3:] == ["processes"] else "threads"):
        hourly = events.map_partitions(hourly_of, countries, meta=pd.DataFrame(columns=list(META)).astype(META)).compute()
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", hourly)
        connection.execute("CREATE TABLE hourly AS SELECT * FROM hours")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
