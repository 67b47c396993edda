"""Rebuild synthkit/data/adult/adult.parquet from the original adult.data.

    python benchmarks/make_adult_sample.py adult.data

See synthkit/data/adult/SOURCE.md for where the original comes from.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SHA256 = "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"
ROWS = 32_561
TEXT = pa.dictionary(pa.int8(), pa.string())
COLUMNS = {
    "age": pa.int8(),
    "workclass": TEXT,
    "fnlwgt": pa.int32(),
    "education": TEXT,
    "education_num": pa.int8(),
    "marital_status": TEXT,
    "occupation": TEXT,
    "relationship": TEXT,
    "race": TEXT,
    "sex": TEXT,
    "capital_gain": pa.int32(),
    "capital_loss": pa.int32(),
    "hours_per_week": pa.int8(),
    "native_country": TEXT,
    "income": TEXT,
}


def convert(original: bytes) -> pa.Table:
    """The rows of ``adult.data``, typed, with null for ``?``."""
    if (found := hashlib.sha256(original).hexdigest()) != SHA256:
        raise SystemExit(f"this is not the original adult.data: SHA-256 is {found}, expected {SHA256}")
    rows = [row for row in csv.reader(io.StringIO(original.decode("ascii")), skipinitialspace=True) if row]
    if len(rows) != ROWS:
        raise SystemExit(f"{len(rows)} rows, expected {ROWS}")
    arrays = []
    for values, kind in zip(zip(*rows, strict=True), COLUMNS.values(), strict=True):
        if kind == TEXT:
            text = pa.array([None if value == "?" else value for value in values])
            arrays.append(text.dictionary_encode().cast(TEXT))
        else:
            arrays.append(pa.array([int(value) for value in values], kind))
    return pa.table(arrays, names=list(COLUMNS))


def main() -> None:
    """Read adult.data, write the sample."""
    parser = argparse.ArgumentParser(description="Rebuild the bundled Adult sample from adult.data.")
    parser.add_argument("original", type=Path, help="adult.data as published by UCI")
    parser.add_argument(
        "--to", type=Path, default=Path(__file__).parents[1] / "synthkit" / "data" / "adult" / "adult.parquet"
    )
    arguments = parser.parse_args()
    table = convert(arguments.original.read_bytes())
    # Only text gains from dictionaries; plain small integers compress better as they are.
    text = [name for name, kind in COLUMNS.items() if kind == TEXT]
    pq.write_table(table, arguments.to, compression="zstd", compression_level=19, use_dictionary=text)
    print(f"{arguments.to}: {table.num_rows} rows, {arguments.to.stat().st_size} bytes")


if __name__ == "__main__":
    main()
