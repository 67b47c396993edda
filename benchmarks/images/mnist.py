"""Train on synthetic images, test on real ones: accuracy, likeness, seconds and memory at given epsilons.

    python benchmarks/images/mnist.py mnist.npz --epsilon 1 --epsilon 10 --sheet sheet.png --json result.json

The .npz holds x_train, y_train, x_test, y_test (MNIST's layout; any images of one size). With
``--validate`` the last 10,000 training images stand in for the test images, for choosing settings.
"""

from __future__ import annotations

import json
from typing import Any

import common

from synthkit.privacy.budget import Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import METHODS, for_images, method_class, method_for


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--method", choices=[name for name in METHODS if for_images(method_class(name))], default="image_moments"
    )
    parser.add_argument("--settings", default="{}", help="of the method, as JSON")
    options = parser.parse_args()

    def fit(train: common.Labelled, epsilon: float, run: int) -> tuple[common.Draw, dict[str, Any]]:
        data = common.locked(train, options.data.stem)
        method = method_for(data.schema, options.method, json.loads(options.settings))
        session = Session(method.plan(data.schema, Budget(epsilon, options.delta)))
        model = method.fit(data, session)

        def draw(count: int) -> common.Labelled:
            drawn = model.sample(count, seed=run)
            return common.Labelled(drawn.pixels, drawn.labels)

        return draw, {
            "spent": session.spent,
            "style": model.parameters.get("style"),
            "planned_seconds": session.plan.seconds,
            "planned_megabytes": session.plan.megabytes,
        }

    common.measure(options.method, fit, options)


if __name__ == "__main__":
    main()
