"""Distance from the training images: held to scikit-learn, and large for what is strange in any one respect."""

import io

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from breastlens.errors import BundleError
from breastlens.imaging.corruptions import corruptions
from breastlens.imaging.layout import LAYOUT_SIZE, describe_layout
from breastlens.inference.novelty import (
    METHODS,
    count_axes,
    find_similar,
    fit_reference,
    measure_novelty,
)
from breastlens.inference.reference_file import pack_reference, read_reference
from breastlens.models.head import compress

COUNT, WIDTH = 120, 12


def draw(random, count):
    """Features along a few common directions, and layouts; two images a group."""
    hidden = random.normal(size=(count, 4)) @ np.random.default_rng(9).normal(size=(4, WIDTH))
    features = np.exp(0.3 * hidden + 0.05 * random.normal(size=(count, WIDTH)))
    return features.astype(np.float32), random.random((count, LAYOUT_SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    features, layout = draw(np.random.default_rng(0), COUNT)
    labels, groups = np.arange(COUNT) % 2, np.arange(COUNT) // 2
    references = fit_reference(features, layout, labels, groups, np.arange(COUNT) + 100, axes=30, seed=0)
    return features, layout, references


def test_distances_within_the_axes_are_those_of_scikit_learn(fitted):
    features, _, references = fitted
    space = references["mahalanobis"].network
    new = compress(draw(np.random.default_rng(1), 30)[0])
    places, beyond = space.project(new)
    standard = (compress(features) - space.mean) / space.scale
    model = LedoitWolf(assume_centered=True).fit(standard @ space.axes.T)
    np.testing.assert_allclose(space.within(places, "mahalanobis") ** 2, model.mahalanobis(places), rtol=1e-6)
    nearest = NearestNeighbors(n_neighbors=5).fit(space.places).kneighbors(places)[0]
    np.testing.assert_allclose(space.within(places, "neighbours"), nearest.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(beyond, 0, atol=1e-5, err_msg="twelve axes hold all of twelve signals")


def test_what_lies_beyond_the_axes_is_the_rest():
    random = np.random.default_rng(2)
    features = np.abs(random.normal(size=(40, 300))).astype(np.float32)
    layout = random.random((40, LAYOUT_SIZE)).astype(np.float32)
    number = np.arange(40)
    references = fit_reference(features, layout, number % 2, number, number, axes=10, seed=0)
    space = references["neighbours"].network
    assert len(space.axes) == len(references["neighbours"].layout.axes) == 10
    new = np.abs(random.normal(size=(5, 300)))
    places, beyond = space.project(compress(new))
    standard = (compress(new) - space.mean) / space.scale
    rest = standard - places @ space.axes
    np.testing.assert_allclose(beyond, np.linalg.norm(rest, axis=1), rtol=1e-6)
    assert beyond.min() > 1


@pytest.mark.parametrize("method", METHODS)
def test_a_part_that_is_the_same_for_all_does_not_count(method):
    random = np.random.default_rng(5)
    features, number = np.abs(random.normal(size=(60, 40))).astype(np.float32), np.arange(60)
    layout = np.zeros((60, LAYOUT_SIZE), np.float32)
    reference = fit_reference(features, layout, number % 2, number, number, axes=10, seed=0)[method]
    assert np.isinf(reference.width).any()
    new = np.abs(random.normal(size=(200, 40))).astype(np.float32)
    distances = measure_novelty(reference, method, new, np.zeros((200, LAYOUT_SIZE), np.float32))
    assert np.mean(distances < 0) > 0.3, "else none would be nearer than what does not vary"
    assert not (distances == 0).any()


@pytest.mark.parametrize("method", METHODS)
def test_new_usual_images_are_near_and_strange_ones_far(fitted, method):
    _, _, references = fitted
    features, layout = draw(np.random.default_rng(3), 400)
    usual = measure_novelty(references[method], method, features, layout)
    assert abs(np.mean(usual > 1) - 0.1) < 0.12, (
        "beyond 1 is the farthest tenth, whichever of the parts is largest"
    )
    assert -0.6 < np.median(usual) < 0.25, (
        "half are nearer than 0, and nearer still to half as many images again"
    )
    off_axis = features * np.exp(np.random.default_rng(4).normal(size=WIDTH)).astype(np.float32)
    assert np.quantile(measure_novelty(references[method], method, off_axis, layout), 0.05) > 2
    elsewhere = measure_novelty(references[method], method, features, layout + 2)
    assert elsewhere.min() > usual.max(), "the layout alone tells"


def test_few_images_have_few_axes():
    assert [count_axes(images) for images in (1, 48, 400, 5000)] == [1, 12, 100, 128]


def test_images_that_are_all_the_same_are_near():
    features, layout, number = np.ones((30, WIDTH)), np.ones((30, LAYOUT_SIZE)), np.arange(30)
    references = fit_reference(features, layout, number % 2, number, number, axes=7, seed=0)
    for method in METHODS:
        np.testing.assert_allclose(
            measure_novelty(references[method], method, features, layout), 0, atol=1e-6
        )


def test_a_training_image_is_the_most_similar_to_itself(fitted):
    features, _, references = fitted
    (first, second), *_ = find_similar(references["neighbours"], features[[7]], 2)
    assert (first.number, first.label) == (107, 1)
    assert first.distance == pytest.approx(0, abs=1e-5)
    assert second.distance > 0.1


def test_the_file_holds_the_same_reference_and_no_objects(fitted, tmp_path):
    features, layout, references = fitted
    path = tmp_path / "reference.npz"
    path.write_bytes(pack_reference(references["neighbours"]))
    again = read_reference(path)
    np.testing.assert_allclose(
        measure_novelty(again, "neighbours", features[:9] * 2, layout[:9]),
        measure_novelty(references["neighbours"], "neighbours", features[:9] * 2, layout[:9]),
        rtol=1e-4,
        atol=1e-4,
    )
    with np.load(path, allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays} == {"f", "i"}


def test_a_broken_file_is_one_line(tmp_path):
    path = tmp_path / "reference.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(BundleError, match=r"reference\.npz cannot be read"):
        read_reference(path)


def altered(arrays, **changes):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays | changes)
    return buffer.getvalue()


def one_array(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_whatever_is_wrong_with_the_file_is_one_line(fitted, tmp_path):
    path = tmp_path / "reference.npz"
    path.write_bytes(pack_reference(fitted[2]["neighbours"]))
    with np.load(path) as whole:
        arrays = dict(whole)
    shape = r"has the shape \(.*\) instead of \(.*\)"
    for content, reason in (
        (b"", ""),
        (one_array(np.arange(3)), "not a zip file"),
        (altered({"centre": np.zeros(4)}), "network_mean"),
        (altered(arrays, labels=np.array(["a"])), ""),
        (altered(arrays, numbers=arrays["numbers"][:-1]), f"numbers {shape}"),
        (altered(arrays, network_axes=arrays["network_axes"][:, :-1]), f"network_axes {shape}"),
        (altered(arrays, layout_places=arrays["layout_places"][0]), f"layout_places {shape}"),
        (altered(arrays, width=np.ones(3)), f"width {shape}"),
    ):
        path.write_bytes(content)
        with pytest.raises(
            BundleError, match=rf"reference\.npz cannot be read: .*{reason}.*copy the bundle"
        ) as told:
            read_reference(path)
        assert "\n" not in str(told.value)


def test_the_layout_knows_up_from_down_and_colour():
    image = np.zeros((2, 64, 64, 3), np.uint8)
    image[0, :32] = 200
    image[1, :, :, 0] = 255
    layout = describe_layout(image)
    np.testing.assert_allclose(layout[0, :64].reshape(8, 8)[:4], 200 / 255, atol=1e-6)
    np.testing.assert_allclose(layout[0, :64].reshape(8, 8)[4:], 0, atol=1e-6)
    assert (layout[0, 64], layout[1, 64]) == (0, 1)


def test_corruptions_are_what_they_are_called():
    pixels = np.random.default_rng(0).integers(0, 200, (3, 64, 64, 3), dtype=np.uint8)
    made = dict(corruptions(pixels, seed=0))
    assert {each.shape for each in made.values()} == {pixels.shape}
    np.testing.assert_array_equal(made["inverted"], 255 - pixels)
    np.testing.assert_array_equal(made["upside down"], pixels[:, ::-1])
    np.testing.assert_array_equal(made["turned by a quarter"][:, :, 0], pixels[:, 0, ::-1])
    for name in ("blocks shuffled", "pixels shuffled"):
        assert not np.array_equal(made[name], pixels)
        np.testing.assert_array_equal(np.sort(made[name].ravel()), np.sort(pixels.ravel()))
    assert [np.unique(one).size for one in made["blank"]] == [1, 1, 1]
    assert len({tuple(one.ravel()[:9]) for one in made["noise"]}) == 3
