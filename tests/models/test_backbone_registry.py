from __future__ import annotations

import subprocess
import sys

import pytest

from breastlens.errors import DataError
from breastlens.models._keras import import_keras
from breastlens.models.backbones import (
    ALL_COMPARED,
    PUBLISHED_ALPHAS,
    build_network,
    get_backbone,
    list_backbones,
)
from breastlens.models.costs import COSTS_AT_128, count_costs

WITH_ALPHA = [f"{family}:{alpha:g}" for family, alphas in PUBLISHED_ALPHAS.items() for alpha in alphas]


def test_every_promised_backbone_is_listed_once():
    assert [backbone.name for backbone in list_backbones()] == [
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet50v2",
        "vgg16",
        "vgg19",
        "mobilenet",
        "mobilenetv2",
        "mobilenetv3small",
        "mobilenetv3large",
        "densenet121",
        "densenet169",
        "densenet201",
        "efficientnetv2b0",
    ]
    assert all(get_backbone(backbone.name) is backbone for backbone in list_backbones())
    assert [get_backbone(name).title for name in ALL_COMPARED] == [
        "ResNet50",
        "VGG16",
        "MobileNetV2",
        "DenseNet121",
    ]


@pytest.mark.parametrize(
    ("written", "name", "title"),
    [
        ("mobilenet:0.75", "mobilenet:0.75", "MobileNet (alpha 0.75)"),
        ("MobileNet:0.50", "mobilenet:0.5", "MobileNet (alpha 0.5)"),
        ("mobilenetv2:1.0", "mobilenetv2", "MobileNetV2"),
        (" VGG16 ", "vgg16", "VGG16"),
    ],
)
def test_names_are_read_generously_and_kept_in_one_spelling(written, name, title):
    backbone = get_backbone(written)
    assert (backbone.name, backbone.title) == (name, title)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("vg16", r"no backbone is called 'vg16'; did you mean vgg16\? Known: resnet50, "),
        ("transformer", r"no backbone is called 'transformer'\. Known: resnet50, "),
        ("mobilenet:0.8", r"mobilenet was published with alpha 0\.25, 0\.5, 0\.75, 1, not '0\.8'"),
        ("mobilenetv2:nan", r"mobilenetv2 was published with alpha 0\.35, .*, not 'nan'"),
        ("mobilenet:", r"not ''"),
        ("vgg16:0.5", r"vgg16 comes in one width only; write vgg16"),
    ],
)
def test_unknown_names_are_refused_with_what_would_work(written, said):
    with pytest.raises(DataError, match=said):
        get_backbone(written)


# Parameters: the "stem" column of the Keras Applications table. Operations: multiply-adds of the papers, doubled;
# MobileNet's 569 and 325 million (Howard et al. 2017, table 6) and VGG16's 15.35 thousand million without its top.
@pytest.mark.parametrize(
    ("name", "parameters", "gflops"),
    [
        ("vgg16", 14_714_688, 30.69),
        ("mobilenet", 3_228_864, 2 * 0.569),
        ("mobilenet:0.75", 1_832_976, 2 * 0.325),
    ],
)
def test_costs_are_the_published_ones(name, parameters, gflops):
    costs = count_costs(get_backbone(name), 224)
    assert costs.parameters == parameters
    assert costs.gflops == pytest.approx(gflops, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTS_AT_128)
def test_the_written_costs_are_the_counted_ones(name):
    counted = count_costs(get_backbone(name), 128)
    assert COSTS_AT_128[name].parameters == counted.parameters
    assert COSTS_AT_128[name].gflops == pytest.approx(counted.gflops, abs=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_ALPHA)
def test_every_published_width_has_the_channels_it_says(name):
    keras = import_keras()
    backbone = get_backbone(name)
    network = build_network(backbone, keras.Input((32, 32, 3)), image_size=32)
    assert network.get_layer(backbone.stages[-1]).output.shape[-1] == backbone.feature_width


def test_layer_names_do_not_depend_on_what_was_built_before():
    keras = import_keras()
    backbone = get_backbone("mobilenetv3small")
    for _ in range(2):
        network = build_network(backbone, keras.Input((32, 32, 3)), image_size=32)
        assert set(backbone.stages) <= {layer.name for layer in network.layers}


def test_reading_the_registry_does_not_import_keras():
    code = (
        "import sys; from breastlens.models.backbones import list_backbones; "
        "list_backbones(); print('keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
