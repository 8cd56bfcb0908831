"""The canonical job with Spark's DataFrame on all cores of this machine. Usage: python spark_dataframe.py FOLDER DESTINATION"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import duckdb
from pyspark.sql import SparkSession
from pyspark.sql import functions as f


def main(folder: Path, destination: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    builder = SparkSession.builder.master(f"local[{cores}]").appName("canonical")
    settings = {
        "spark.driver.memory": "4g",
        "spark.sql.shuffle.partitions": str(4 * cores),  # the default of 200 is for clusters
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    countries = f.broadcast(session.read.csv(f"{folder}/countries.csv", header=True))
    hourly = (
        session.read.parquet(*(str(path) for path in sorted(folder.glob("events-*.parquet"))))
        .where("amount >= 0")
        .dropDuplicates(["event_id"])
        .withColumns({"hour": f.date_trunc("hour", "ts"), "host": f.split("url", "/")[2]})
        .join(countries, "country", "left")
        .groupBy("hour", "region", "event_type")
        .agg(f.count("*").alias("events"), f.sum("amount").alias("amount"), f.count_distinct("user_id").alias("users"))
        .toArrow()
    )
    session.stop()
    with duckdb.connect(str(destination)) as connection:
        connection.register("hours", hourly)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE TABLE hourly AS SELECT * REPLACE (hour::TIMESTAMP AS hour) FROM hours")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
