"""Spark's GaussianMixture in one local process of two threads: the difference of two lengths, once."""

import tempfile
from pathlib import Path

import pandas
from protocol import now, serve
from pyspark.ml.clustering import GaussianMixture
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

FEW, MORE = 1, 3


def prepare(given):
    points = given["points"]
    names = [f"x{i}" for i in range(points.shape[1])]
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "points.parquet"
    pandas.DataFrame(points, columns=names).to_parquet(path)
    table = session.read.parquet(str(path)).repartition(2)
    table = VectorAssembler(inputCols=names, outputCol="features").transform(table).select("features").cache()
    table.count()

    def seconds(iterations):
        begun = now()
        # it takes no start; tol below zero is refused, and at zero it never stops early from a random one
        GaussianMixture(k=len(given["weights"]), maxIter=iterations, tol=0.0, seed=1).fit(table)
        return now() - begun

    seconds(FEW)

    def run(request):
        assert folder
        short, long = seconds(FEW), seconds(FEW + MORE)
        return {"first": None, "seconds": [(long - short) / MORE] if long > short else []}

    return run


if __name__ == "__main__":
    serve(prepare, ["pyspark"])
