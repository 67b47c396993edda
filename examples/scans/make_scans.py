"""Made-up scans in MedMNIST's format: 28 x 28, grey, at most three of a patient, with or without an effusion.

python examples/scans/make_scans.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

PATIENTS, MOST = 3_000, 3


def scan(effusion: bool, rng: np.random.Generator) -> np.ndarray:
    """Two dark lungs in lighter tissue; an effusion fills both from below, up to a level."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    image = 0.65 + 0.08 * rng.normal(size=(28, 28))
    level = rng.uniform(-0.1, 0.3) if effusion else 1.0
    for side in (-1, 1):
        shift, width = side * rng.uniform(0.38, 0.48), rng.uniform(0.24, 0.34)
        lung = ((x - shift) / width) ** 2 + ((y - rng.uniform(-0.1, 0.1)) / 0.7) ** 2
        image -= 0.5 / (1 + np.exp(8 * (lung - 1))) / (1 + np.exp(12 * (y - level)))
    return (255 * image.clip(0, 1)).astype(np.uint8)


def main() -> None:
    rng = np.random.default_rng(2026)
    images, labels, patients = [], [], []
    for patient in range(PATIENTS):
        ill = rng.random() < 0.4
        for _ in range(rng.integers(1, MOST + 1)):
            images.append(scan(bool(ill), rng))
            labels.append([int(ill)])
            patients.append(f"P{patient:05d}")
    file = Path(__file__).with_name("scans.npz")
    np.savez_compressed(
        file, train_images=np.stack(images), train_labels=np.array(labels), train_units=np.array(patients)
    )
    print(f"{file}: {len(images)} scans of {PATIENTS} patients")


if __name__ == "__main__":
    main()
