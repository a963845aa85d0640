from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from breastlens.errors import WeightsError
from breastlens.models._keras import import_keras
from breastlens.models.backbones import build_network, get_backbone
from breastlens.models.classifier import build_classifier, build_features
from breastlens.models.head import Head
from breastlens.models.weight_files import layer_arrays
from breastlens.models.weights import load_backbone_weights, resolve_weights

BACKBONE = get_backbone("mobilenet:0.25")
SIZE = 32


def application(*, include_top=False):
    keras = import_keras()
    return keras.applications.MobileNet(
        include_top=include_top, weights=None, input_shape=(SIZE, SIZE, 3), alpha=0.25, classes=1000
    )


@pytest.fixture(scope="module")
def donor():
    """The application with weights of its own, as if it had been trained."""
    random = np.random.default_rng(11)
    network = application()
    for layer in network.layers:
        layer.set_weights([random.normal(0, 1, weight.shape) for weight in layer.get_weights()])
    return network


def write_keras2(path, model, *, group="/", nested=""):
    """A ``.h5`` as Keras 2 wrote it: layer names, and for each layer the names and values of its weights."""
    with h5py.File(path, "w") as file:
        top = file.require_group(group)
        layers = [(layer.name, layer.weights) for layer in model.layers]
        if nested:
            everything = [weight for layer in model.layers for weight in layer.weights]
            owner = [layer.name for layer in model.layers for _ in layer.weights]
            entry = top.create_group(nested)
            names = [f"{name}/{weight.name}:0" for name, weight in zip(owner, everything, strict=True)]
            for name, weight in zip(names, everything, strict=True):
                entry[name] = np.asarray(weight)
            entry.attrs["weight_names"] = [name.encode() for name in names]
            top.attrs["layer_names"] = [nested.encode()]
            return
        for name, weights in layers:
            entry = top.create_group(name)
            names = [f"{name}/{weight.name}:0" for weight in weights]
            for weight_name, weight in zip(names, weights, strict=True):
                entry[weight_name] = np.asarray(weight)
            entry.attrs["weight_names"] = [weight_name.encode() for weight_name in names]
        top.attrs["layer_names"] = [name.encode() for name, _ in layers]


def strip_names(path):
    """Make a ``.weights.h5`` look as early Keras 3 wrote it, with groups counted by class and no names."""
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, entry: entry.attrs.pop("name", None) and None)


def save_weights(model, path):
    model.save_weights(path)


def save_nameless(model, path):
    model.save_weights(path)
    strip_names(path)


def save_nested(model, path):
    layers = import_keras().layers
    parts = [layers.Input((SIZE, SIZE, 3)), layers.Rescaling(1 / 255), model, layers.GlobalMaxPooling2D()]
    import_keras().Sequential([*parts, layers.Dense(1)]).save(path)


def save_with_top(model, path):
    whole = application(include_top=True)
    for name, arrays in layer_arrays(model).items():
        whole.get_layer(name).set_weights(arrays)
    whole.save_weights(path)


KINDS = {
    "named.weights.h5": save_weights,
    "nameless.weights.h5": save_nameless,
    "with_top.weights.h5": save_with_top,
    "whole.keras": lambda model, path: model.save(path),
    "nested.keras": save_nested,
    "keras2.h5": lambda model, path: write_keras2(path, model),
    "keras2_whole_model.h5": lambda model, path: write_keras2(path, model, group="model_weights"),
    "keras2_nested.h5": lambda model, path: write_keras2(path, model, nested="mobilenet_0.25_32"),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_weights_it_was_saved_with(donor, tmp_path, name):
    path = tmp_path / name
    KINDS[name](donor, path)

    features = build_features(BACKBONE, image_size=SIZE, weights=path, seed=0)

    for layer, arrays in layer_arrays(donor).items():
        for found, expected in zip(features.get_layer(layer).get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_saved_classifier_can_be_started_from(donor, tmp_path):
    donor.save_weights(tmp_path / "donor.weights.h5")
    features = build_features(BACKBONE, image_size=SIZE, weights=tmp_path / "donor.weights.h5", seed=0)
    build_classifier(features, Head.untrained(features.output.shape[-1])).save(tmp_path / "model.keras")
    again = build_features(BACKBONE, image_size=SIZE, weights=tmp_path / "model.keras", seed=1)
    np.testing.assert_array_equal(
        again.get_layer("conv1").get_weights()[0], donor.get_layer("conv1").get_weights()[0]
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "mobilenet:0.5",
            r"does not fit mobilenet:0\.5: layer conv1 expected 3x3x3x16, found 3x3x3x8; give weights",
        ),
        (
            "mobilenetv2",
            r"does not fit mobilenetv2: layer Conv1 expected 3x3x3x32, found no such layer; give weights",
        ),
    ],
)
@pytest.mark.parametrize("name", ["named.weights.h5", "keras2.h5", "whole.keras"])
def test_weights_of_another_network_name_the_first_layer_that_does_not_fit(
    donor, tmp_path, asked, said, name
):
    KINDS[name](donor, tmp_path / name)
    with pytest.raises(WeightsError, match=said):
        build_features(get_backbone(asked), image_size=SIZE, weights=tmp_path / name, seed=0)


def test_a_deeper_network_of_the_same_family_is_refused(donor, tmp_path):
    """All layers of VGG16 are in VGG19's file, with the same shapes; it would fit and be wrong."""
    path = tmp_path / "deeper.weights.h5"
    donor.save_weights(path)
    with h5py.File(path, "r+") as file:
        extra = file.create_group("layers/conv2d_99/vars")
        extra.attrs["name"] = "conv_pw_14"
        extra["0"] = np.zeros((1, 1, 256, 256), np.float32)
    with pytest.raises(WeightsError, match=r"expected no layer conv_pw_14, found 1x1x256x256"):
        build_features(BACKBONE, image_size=SIZE, weights=path, seed=0)


def test_a_file_that_does_not_fit_changes_nothing(donor, tmp_path):
    keras = import_keras()
    path = tmp_path / "one_wrong.weights.h5"
    donor.save_weights(path)
    with h5py.File(path, "r+") as file:
        last = next(g for g in file["layers"].values() if g["vars"].attrs.get("name") == "conv_pw_13_bn")[
            "vars"
        ]
        del last["3"]
        last["3"] = np.zeros(7, np.float32)
    network = build_network(BACKBONE, keras.Input((SIZE, SIZE, 3)), image_size=SIZE)
    before = layer_arrays(network)
    with pytest.raises(
        WeightsError, match="layer conv_pw_13_bn expected 256 and 256 and 256 and 256, found 256 and"
    ):
        load_backbone_weights(network, BACKBONE, resolve_weights(path, BACKBONE))
    for name, arrays in layer_arrays(network).items():
        assert all(np.array_equal(new, old) for new, old in zip(arrays, before[name], strict=True))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.h5", b"not weights", r"text\.h5 cannot be read as HDF5: "),
        ("empty.weights.h5", b"", r"empty\.weights\.h5 cannot be read as HDF5: "),
        ("text.keras", b"not a model", r"text\.keras cannot be read as a Keras model: "),
        ("weights.pth", b"", r"weights\.pth is no weights file: expected a name ending in \.weights\.h5, "),
    ],
)
def test_files_that_are_no_weights_are_named_in_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=said) as caught:
        build_features(BACKBONE, image_size=SIZE, weights=tmp_path / name, seed=0)
    assert "\n" not in str(caught.value)


def test_hdf5_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["measurements"] = np.zeros(3)
    with pytest.raises(WeightsError, match="HDF5 without Keras weights"):
        build_features(BACKBONE, image_size=SIZE, weights=tmp_path / "data.h5", seed=0)


def test_code_in_a_keras_file_is_not_run(tmp_path):
    keras = import_keras()
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)]).save(
        tmp_path / "lambda.keras"
    )
    with pytest.raises(WeightsError, match=r"lambda\.keras cannot be read as a Keras model: .*[Ll]ambda"):
        build_features(BACKBONE, image_size=SIZE, weights=tmp_path / "lambda.keras", seed=0)


def test_sources_describe_themselves_for_the_run(tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"abc")
    source = resolve_weights(str(path), BACKBONE)
    assert (source.kind, source.path, source.description) == ("file", path, "mine.h5")
    assert source.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert resolve_weights("imagenet", BACKBONE).description == "ImageNet (Keras)"
    assert resolve_weights("none", BACKBONE).sha256 is None


def test_missing_file_says_what_was_expected(tmp_path):
    with pytest.raises(
        WeightsError, match=r"no weights at .*nowhere\.h5: expected 'imagenet', 'none', a weights file"
    ):
        resolve_weights(tmp_path / "nowhere.h5", BACKBONE)


FOLDER = (
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "vgg16_imagenet_notop.weights.h5",
    "mobilenet_7_5_224_tf_no_top.h5",
    "mobilenet_1_0_224_tf_no_top.h5",
    "mobilenet_v1_alpha0.50_224.weights.h5",
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5",
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "DenseNet121.keras",
    "efficientnetv2-b0_notop.h5",
    "README.md",
)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("resnet50", 0),
        ("resnet50v2", 1),
        ("vgg16", 2),
        ("mobilenet:0.75", 3),
        ("mobilenet", 4),
        ("mobilenet:0.5", 5),
        ("mobilenetv2:0.35", 6),
        ("mobilenetv2", 7),
        ("mobilenetv3small", 8),
        ("densenet121", 9),
        ("efficientnetv2b0", 10),
    ],
)
def test_a_folder_is_searched_by_name(tmp_path, name, index):
    for file_name in FOLDER:
        (tmp_path / file_name).write_bytes(b"x")
    assert resolve_weights(tmp_path, get_backbone(name)).description == FOLDER[index]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ((), "no weights file at all"),
        (("README.md",), "no weights file at all"),
        (("vgg19.h5",), r"vgg19\.h5"),
        (("vgg16_a.h5", "vgg16_b.h5", "vgg19.h5"), r"vgg16_a\.h5, vgg16_b\.h5;"),
    ],
)
def test_a_folder_without_exactly_one_match_is_refused(tmp_path, files, found):
    for file_name in files:
        (tmp_path / file_name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=rf"expected one file named after vgg16, found {found}"):
        resolve_weights(tmp_path, get_backbone("vgg16"))


@pytest.mark.slow
def test_unreachable_downloads_end_in_one_line_and_leave_nothing(tmp_path):
    """In a process of its own, with a cache of its own: refused, then silent, then cut short by a kill."""
    code = """
    import os, socket, sys
    from pathlib import Path
    from breastlens.errors import WeightsError
    from breastlens.models import weights
    from breastlens.models.backbones import get_backbone
    from breastlens.models.classifier import build_features

    models = Path(os.environ["KERAS_HOME"]) / "models"
    weights._SILENCE_S = 1.0

    def attempt():
        try:
            build_features(get_backbone("mobilenet:0.25"), image_size=40, weights="imagenet", seed=0)
        except WeightsError as error:
            assert "http" not in error.brief, error.brief
            print(error, "|", socket.getdefaulttimeout())

    attempt()
    print([path.name for path in models.glob("*")])
    listener = socket.create_server(("127.0.0.1", 0))
    os.environ["https_proxy"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    import urllib.request
    urllib.request.install_opener(None)
    attempt()
    print([path.name for path in models.glob("*")])
    models.mkdir(exist_ok=True)
    (models / "mobilenet_2_5_224_tf_no_top.h5").write_bytes(b"\\x89HDF\\r\\n\\x1a\\n cut short")
    attempt()
    """
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KERAS_HOME": str(tmp_path / "keras"),
        "https_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    refused, nothing, silent, nothing_still, cut_short = done.stdout.splitlines()
    ways_out = "give a file you have with --weights FILE, or start from random with --weights none"
    assert refused.startswith(
        "the ImageNet weights of mobilenet:0.25 cannot be downloaded (URL fetch failure on "
    )
    assert "Connection refused" in refused
    assert silent.startswith("the ImageNet weights of mobilenet:0.25 cannot be downloaded (")
    assert refused.endswith(f"{ways_out} | None")
    assert silent.endswith(f"{ways_out} | None")
    assert nothing == nothing_still == "[]"
    assert "mobilenet_2_5_224_tf_no_top.h5 are incomplete: delete them and try again" in cut_short


@pytest.mark.real
@pytest.mark.parametrize("name", ["vgg16", "mobilenet:0.75", "mobilenetv2:0.35"])
def test_real_weights_give_the_features_that_keras_gives(shared_dir, name):
    keras = import_keras()
    backbone = get_backbone(name)
    folder = shared_dir / "weights"
    features = build_features(backbone, image_size=64, weights=folder, seed=0)

    options = {} if backbone.alpha is None else {"alpha": backbone.alpha}
    reference = getattr(keras.applications, backbone.keras_name)(
        include_top=False, weights=None, input_shape=(64, 64, 3), **options
    )
    reference.load_weights(resolve_weights(folder, backbone).path)
    images = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    module = getattr(keras.applications, backbone.keras_module)
    top = keras.Model(reference.input, reference.get_layer(backbone.stages[-1]).output)
    expected = np.asarray(top(module.preprocess_input(images.astype(np.float32)))).max(axis=(1, 2))

    found = np.asarray(features(images))[:, -backbone.feature_width :]
    assert np.abs(found - expected).max() <= 1e-5 * expected.max()
