"""Buckets of `approx_quantile`: the sign, the exponent and the first bits of the mantissa of a double, as one integer.

Buckets are ordered as the values are, and every value of a bucket is within 1/128 of its middle. They are cut out of the bits
of the number and not computed by a logarithm, so that they are the same on every machine; counts of them add up in any order.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from raypipe.core.merge import BUCKET_BITS

_MANTISSA_BITS = 52
_INFINITE = 2047 << BUCKET_BITS
_MAGNITUDE = 2**63 - 1


def buckets(values: pl.Series) -> pl.Series:
    """Return the bucket of each number; zero is bucket 0, NaN stands above infinity, null stays null.

    Numbers below 2**-1029 may count as zero; integers above 2**53 count as the double that is nearest.
    """
    doubles = values.cast(pl.Float64).to_arrow()
    bits = pl.Series(pl.from_arrow(doubles.view(pa.int64())))
    magnitude = (bits & _MAGNITUDE) // 2 ** (_MANTISSA_BITS - BUCKET_BITS)
    frame = pl.DataFrame({"bits": bits, "magnitude": magnitude, "value": values.cast(pl.Float64)})
    signed = pl.when(pl.col("bits") < 0).then(-pl.col("magnitude")).otherwise(pl.col("magnitude"))
    bucket = pl.when(pl.col("value").is_nan()).then(_INFINITE + 1).otherwise(signed)
    return frame.select(bucket.cast(pl.Int32).alias(values.name)).to_series()
