"""Train on synthetic images, test on real ones: accuracy, seconds and memory at given epsilons.

    python benchmarks/images/mnist.py mnist.npz --epsilon 1 --epsilon 10 --sheet sheet.png --json result.json

The .npz holds x_train, y_train, x_test, y_test (MNIST's layout; any images of one size). With
``--validate`` the last 10,000 training images stand in for the test images, for choosing settings.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import common
import torch

from synthkit.privacy.budget import Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import METHODS, for_images, method_class, method_for


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    train, test = common.read(arguments.data)
    if arguments.validate:
        test = common.Labelled(train.pixels[-10_000:], train.labels[-10_000:])
        train = common.Labelled(train.pixels[:-10_000], train.labels[:-10_000])
    if arguments.train:
        train = common.Labelled(train.pixels[: arguments.train], train.labels[: arguments.train])
    data = common.locked(train, arguments.data.stem)
    method = method_for(data.schema, arguments.method, json.loads(arguments.settings))
    results = []
    print(
        "| epsilon | run | accuracy on real | fit s | sample s | classifier s | peak MB |\n|---|---|---|---|---|---|---|"
    )
    for epsilon in arguments.epsilon:
        for run in range(arguments.runs):
            start = time.monotonic()
            session = Session(method.plan(data.schema, Budget(epsilon, arguments.delta)))
            model = method.fit(data, session)
            fitted = time.monotonic()
            drawn = model.sample(arguments.sample, seed=run)
            sampled = time.monotonic()
            images = common.Labelled(drawn.pixels, drawn.labels)
            if arguments.sheet:
                common.sheet(images, arguments.sheet.with_stem(f"{arguments.sheet.stem}-{epsilon:g}-{run}"))
            reached = common.accuracy(common.train(images, arguments.epochs, run), test)
            ended = time.monotonic()
            result = {
                "data": arguments.data.stem,
                "method": arguments.method,
                "images": len(train.labels),
                "epsilon": epsilon,
                "spent": session.spent,
                "delta": arguments.delta,
                "run": run,
                "accuracy": reached,
                "tested on": "validation" if arguments.validate else "test",
                "fit_seconds": fitted - start,
                "planned_seconds": session.plan.seconds,
                "sample_seconds": sampled - fitted,
                "classifier_seconds": ended - sampled,
                "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "planned_megabytes": session.plan.megabytes,
            }
            results.append(result)
            print(
                f"| {epsilon:g} | {run} | {reached:.4f} | {result['fit_seconds']:.0f} | {result['sample_seconds']:.0f} "
                f"| {result['classifier_seconds']:.0f} | {result['peak_megabytes']:.0f} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--epsilon", type=float, action="append", required=True)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--train", type=int, default=0, metavar="N", help="fit to the first N training images")
    parser.add_argument(
        "--method", choices=[name for name in METHODS if for_images(method_class(name))], default="image_moments"
    )
    parser.add_argument("--settings", default="{}", help="of the method, as JSON")
    parser.add_argument("--sample", type=int, default=60_000, help="synthetic images")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
