"""The canonical job as a Prefect flow with a task a day in pandas. Usage: python prefect_pandas.py FOLDER DESTINATION"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import duckdb
import pandas as pd
from prefect import flow, task, unmapped
from prefect.task_runners import ThreadPoolTaskRunner


@task(retries=2)
def hourly_of(path: Path, countries: pd.DataFrame) -> pd.DataFrame:
    """Do one day."""
    rows = pd.read_parquet(path)
    rows = rows[rows["amount"] >= 0].drop_duplicates("event_id")
    rows = rows.assign(hour=rows["ts"].dt.floor("h"), host=rows["url"].str.split("/").str[2]).merge(
        countries, on="country", how="left"
    )
    grouped = rows.groupby(["hour", "region", "event_type"], as_index=False)
    return grouped.agg(events=("event_id", "size"), amount=("amount", "sum"), users=("user_id", "nunique"))


@task
def commit(hourly: pd.DataFrame, destination: Path) -> None:
    """Write the table."""
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", hourly)
        connection.execute("CREATE TABLE hourly AS SELECT * FROM hours")


@flow(task_runner=ThreadPoolTaskRunner(max_workers=len(os.sched_getaffinity(0))))
def canonical(folder: Path, destination: Path) -> None:
    """All days, then the table."""
    countries = pd.read_csv(folder / "countries.csv")
    days = hourly_of.map(sorted(folder.glob("events-*.parquet")), countries=unmapped(countries))
    commit(pd.concat(days.result()), destination)


if __name__ == "__main__":
    canonical(Path(sys.argv[1]), Path(sys.argv[2]))
