"""How near each backbone comes to the machine's limit: its operations a second beside those of a large matrix product.

Run as ``python benchmarks/roofline.py``.

Operations are those of convolutions and dense layers, a multiply-add counted as two. The limit is the fastest square
float32 product on all cores, by NumPy or by OpenVINO, measured in the same turns; NumPy's library does not know every
processor. Images lie in memory; weights are random.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breastlens.machine import usable_cores
from breastlens.models._openvino import import_openvino
from breastlens.models.backbones import get_backbone
from breastlens.models.classifier import build_features
from breastlens.models.costs import COSTS_AT_128
from breastlens.models.engine import Engine
from side_by_side import options, report, seconds, spread, take_turns

SIDES_OF_PRODUCTS = (1024, 2048, 3072, 4096)
GIGAFLOP_A_TURN = 300.0
FEWEST, MOST = 64, 4096
PRODUCT = "matrix product"
ENGINE = "breastlens engine"
KERAS = "Keras predict"
ROUNDING_GFLOPS = 0.0006
"""The list of costs has three decimals."""


def main() -> None:
    """Prints one table."""
    arguments = parse()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rows, figures = [], {}
    for backbone in arguments.backbones:
        found = figures[backbone] = measure(backbone, arguments.image_size, arguments.repeats)
        rows.append(
            [
                backbone,
                f"{found['gflops_an_image']:.3f}",
                found["images_per_s"][ENGINE].written(),
                found["gflops_per_s"][ENGINE].written(0),
                found["gflops_per_s"][PRODUCT].written(0),
                f"{found['share'].median:.0%}",
                found["images_per_s"][KERAS].written(),
                f"{found['faster']:.1f}",
            ]
        )
    report(
        "roofline",
        f"Operations a second on arrays in memory, {arguments.image_size}x{arguments.image_size}, fp32, "
        f"median (range) of {arguments.repeats}",
        (
            "backbone",
            "GFLOP an image",
            "engine, images/s",
            "engine, GFLOP/s",
            "product, GFLOP/s",
            "share",
            "Keras, images/s",
            "faster",
        ),
        rows,
        arguments.out,
        arguments=vars(arguments),
        figures=figures,
    )


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = options(__doc__, repeats=5)
    parser.add_argument("--backbones", nargs="+", default=["vgg16", "resnet50", "densenet121", "mobilenet"])
    parser.add_argument("--image-size", type=int, default=128)
    return parser.parse_args()


def measure(name: str, image_size: int, repeats: int) -> dict[str, Any]:
    """Figures of one backbone.

    Raises:
        RuntimeError: The operations counted are not those that `breastlens backbones` lists.
    """
    model = build_features(get_backbone(name), image_size=image_size, weights="none", seed=0)
    gflops = count_operations(model) / 1e9
    if image_size == 128 and abs(gflops - COSTS_AT_128[name].gflops) > ROUNDING_GFLOPS:
        raise RuntimeError(f"{name}: counted {gflops} GFLOP, listed {COSTS_AT_128[name].gflops}")
    engine = Engine.from_keras(model)
    count = min(MOST, max(FEWEST, int(GIGAFLOP_A_TURN / gflops)))
    images = np.random.default_rng(0).integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8)
    products = [*make_numpy_products(), *make_openvino_products()]
    engine.run(images[:FEWEST])
    model.predict(images[:FEWEST], batch_size=32, verbose=0)
    taken = take_turns(
        {
            PRODUCT: lambda: max(gigaflop / seconds(multiply) for gigaflop, multiply in products),
            ENGINE: lambda: count / seconds(lambda: engine.run(images)),
            KERAS: lambda: count / seconds(lambda: model.predict(images, batch_size=32, verbose=0)),
        },
        repeats,
    )
    shares = [gflops * rate / roof for rate, roof in zip(taken[ENGINE], taken[PRODUCT], strict=True)]
    images_per_s = {side: spread(taken[side]) for side in (ENGINE, KERAS)}
    return {
        "gflops_an_image": gflops,
        "images": count,
        "images_per_s": images_per_s,
        "gflops_per_s": {
            PRODUCT: spread(taken[PRODUCT]),
            ENGINE: spread([gflops * rate for rate in taken[ENGINE]]),
        },
        "share": spread(shares),
        "faster": images_per_s[ENGINE].median / images_per_s[KERAS].median,
    }


def count_operations(model: Any) -> int:
    """Floating-point operations of convolutions and dense layers for one image; a multiply-add is two."""
    import keras

    counted = 0
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            _, height, width, _ = layer.output.shape
            counted += 2 * math.prod(layer.kernel.shape) * height * width
        elif isinstance(layer, keras.layers.Dense):
            counted += 2 * math.prod(layer.kernel.shape)
    return counted


def make_numpy_products() -> list[tuple[float, Callable[[], Any]]]:
    """Square float32 products of several sizes by NumPy: the GFLOP of each, and what computes it."""
    return [
        (2e-9 * side**3, partial(np.matmul, *make_factors(side), out=np.empty((side, side), np.float32)))
        for side in SIDES_OF_PRODUCTS
    ]


def make_openvino_products() -> list[tuple[float, Callable[[], Any]]]:
    """The same by OpenVINO, one product at a time on all cores."""
    openvino = import_openvino()
    from openvino import opset13

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": usable_cores(),
    }
    products = []
    for side in SIDES_OF_PRODUCTS:
        left, right = make_factors(side)
        given = opset13.parameter([side, side], np.float32)
        graph = openvino.Model([opset13.matmul(given, opset13.constant(right), False, False)], [given])
        request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
        request.set_input_tensor(openvino.Tensor(left))
        request.infer()
        products.append((2e-9 * side**3, request.infer))
    return products


def make_factors(side: int) -> NDArray[np.float32]:
    """Two matrices to multiply, (2, side, side)."""
    return np.random.default_rng(1).random((2, side, side), np.float32)


if __name__ == "__main__":
    main()
