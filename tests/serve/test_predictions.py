"""POST /v1/predictions: the figures of ``breastlens predict``, file by file, whatever else the request holds."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from breastlens.imaging.decode import decode
from breastlens.inference.map_picture import colour_limit
from breastlens.inference.patients import predict_patients
from breastlens.inference.predictor import Predictor, load
from breastlens.runs.directory import Run
from breastlens.serve.answers import ModelAnswer, PredictionsAnswer

FIELDS = ("y_score", "y_pred", "category", "decision", "prediction_set", "distance", "novel")


@pytest.fixture(scope="module")
def predictor(holdout_run: Run) -> Predictor:
    return load(holdout_run.directory, similar=3)


@pytest.fixture(scope="module")
def images(awkward_dir: Path) -> list[Path]:
    return (
        sorted((awkward_dir / "healthy").glob("P*.png"))[:3]
        + sorted((awkward_dir / "sick").glob("P*.png"))[:3]
    )


def ask(client: httpx.Client, files: Sequence[tuple[str, bytes]], **query: Any) -> dict[str, Any]:
    answer = client.post("/v1/predictions", files=[("files", file) for file in files], params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    PredictionsAnswer.model_validate(found)
    return found


def test_the_figures_are_those_of_predict_in_order(
    client: httpx.Client, predictor: Predictor, images: list[Path]
) -> None:
    answer = ask(client, [(path.name, path.read_bytes()) for path in images])
    expected = list(predictor.predict_files(images))
    assert [one["index"] for one in answer["predictions"]] == list(range(len(images)))
    assert len({one["y_score"] for one in answer["predictions"]}) == len(images)
    for found, one in zip(answer["predictions"], expected, strict=True):
        assert found["y_score"] == pytest.approx(one.y_score, abs=1e-6)
        assert found["distance"] == pytest.approx(one.distance, abs=1e-6)
        for name in set(FIELDS) - {"y_score", "distance"}:
            assert found[name] == getattr(one, name)
        assert found["picture"] is None
        assert found["similar"] == []
    assert answer["patients"] == []
    assert answer["threshold"] == predictor.bundle.card.threshold
    assert answer["distance_limit"] == predictor.bundle.card.abstention.novelty.threshold
    assert "research use only" in answer["notice"].lower()


def test_every_format_gives_what_predict_gives(
    client: httpx.Client, predictor: Predictor, images: list[Path], tmp_path: Path
) -> None:
    grey = cv2.imread(str(images[0]), cv2.IMREAD_GRAYSCALE)
    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp", ".pgm"):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), grey)
    cv2.imwrite(str(tmp_path / "b.png"), grey.astype(np.uint16) * 200)
    celsius = 20 + grey / 255 * 15
    np.save(tmp_path / "c.npy", celsius.astype(np.float32))
    np.savetxt(tmp_path / "c.txt", celsius, fmt="%.3f")
    np.savetxt(tmp_path / "c.csv", celsius, fmt="%.3f", delimiter=",")
    _write_dicom(tmp_path / "d.dcm", grey)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 11
    answer = ask(client, [(path.name, path.read_bytes()) for path in paths])
    for path, found, one in zip(paths, answer["predictions"], predictor.predict_files(paths), strict=True):
        assert one.error == "", path.name
        assert found["problem"] is None, path.name
        assert found["y_score"] == pytest.approx(one.y_score, abs=1e-6), path.name
        assert found["format"] == decode(path).format
        assert (found["height"], found["width"]) == grey.shape


def test_what_is_no_image_gets_a_problem_and_disturbs_no_other(
    client: httpx.Client, predictor: Predictor, images: list[Path]
) -> None:
    whole = images[0].read_bytes()
    files = [
        ("a.png", whole),
        ("b.png", whole[: len(whole) // 2]),
        ("c.png", b""),
        ("d.jpg", whole),
        ("e.png", whole),
    ]
    found = ask(client, files)["predictions"]
    expected = predictor.predict(images[0]).y_score
    assert [one["y_score"] for one in found] == [expected, None, None, None, expected]
    for place, words in ((1, "truncated"), (2, "It is empty."), (3, "its suffix .jpg says JPEG")):
        problem = found[place]["problem"]
        assert problem["status"] == 422
        assert problem["type"] == "urn:breastlens:problem:unreadable-image"
        assert words.lower() in problem["detail"].lower()
        assert found[place]["decision"] is None


def test_patients_are_scored_as_predict_scores_them(
    client: httpx.Client, predictor: Predictor, images: list[Path]
) -> None:
    names = ["P 1", "é", "P 1", "é", "", ""]
    answer = client.post(
        "/v1/predictions",
        files=[("files", (path.name, path.read_bytes())) for path in images],
        data={"patient_id": names},
    ).json()
    expected = predict_patients(list(predictor.predict_files(images)), names, predictor.bundle.card)
    assert answer["patients"] == [vars(one) for one in expected]
    assert [one["patient_id"] for one in answer["patients"]] == ["P 1", "é", "", ""]
    one_for_all = client.post(
        "/v1/predictions",
        files=[("files", (path.name, path.read_bytes())) for path in images],
        data={"patient_id": "all"},
    ).json()
    assert [one["images"] for one in one_for_all["patients"]] == [len(images)]


def test_maps_lie_on_the_image_and_hold_what_explain_gives(
    client: httpx.Client, predictor: Predictor, images: list[Path], tmp_path: Path
) -> None:
    wide = cv2.resize(cv2.imread(str(images[3]), cv2.IMREAD_GRAYSCALE), (2400, 600))
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    path = tmp_path / "wide.png"
    [found] = ask(client, [("x.png", path.read_bytes())], map=True)["predictions"]
    picture, explanation = found["picture"], predictor.explain(path)
    preview, layer = (_decode(picture[name]) for name in ("preview", "map"))
    assert preview.shape[:2] == (256, 1024)
    assert layer.shape == (128, 512, 4)
    shown = explanation.on_square()
    assert picture["map_limit"] == pytest.approx(colour_limit(shown), rel=1e-5)
    assert picture["constant"] == pytest.approx(explanation.constant, abs=1e-5)
    # the map's own values, put on the layer's pixels by resizing alone, since nothing was cropped
    expected = cv2.resize(shown, (512, 128), interpolation=cv2.INTER_AREA)
    opacity = np.where(layer[..., 2] > layer[..., 0], 1, -1) * layer[..., 3].astype(float)
    assert np.corrcoef(opacity.ravel(), expected.ravel())[0, 1] > 0.9
    assert "not where a lesion is" in picture["caption"]


def test_the_most_similar_training_images_are_those_of_predict(
    client: httpx.Client, predictor: Predictor, images: list[Path]
) -> None:
    [found] = ask(client, [("x.png", images[0].read_bytes())], similar=3)["predictions"]
    expected = predictor.predict(images[0]).similar
    assert [(one["number"], one["label"]) for one in found["similar"]] == [
        (one.number, one.label) for one in expected
    ]
    assert len(expected) == 3


def test_the_model_is_told_with_its_figures_and_controls_but_no_training_image(
    client: httpx.Client, holdout_run: Run, predictor: Predictor
) -> None:
    answer = client.get("/v1/model").json()
    ModelAnswer.model_validate(answer)
    card, metrics = predictor.bundle.card, json.loads((holdout_run.directory / "metrics.json").read_text())
    assert answer["model"]["version"] == predictor.bundle.version[:12]
    assert answer["model"]["data_fingerprint"] == card.data_fingerprint
    assert answer["card"]["threshold"] == card.threshold
    assert card.learnt_from
    assert not set(card.learnt_from) & set(json.dumps(answer).split('"'))
    assert answer["figures"]["metrics"]["auc"]["value"] == metrics["test"]["auc"]
    assert answer["figures"]["controls"].keys() == metrics["controls"].keys() != set()
    assert [one["name"] for one in client.get("/v1/models").json()["models"]] == ["breast"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/model?model=other", 404, "not-found"),
        ("POST", "/v1/predictions?model=other", 404, "not-found"),
        ("GET", "/v1/model?model=" + "x" * 65, 422, "invalid"),
        ("POST", "/v1/predictions?map=perhaps", 422, "invalid"),
        ("POST", "/v1/predictions?similar=1000", 422, "invalid"),
        ("POST", "/v1/predictions?modle=other", 422, "invalid"),
        ("GET", "/v1/thumbnails/1?version=other", 404, "not-found"),
        ("GET", "/v1/predictions", 405, "method-not-allowed"),
        ("GET", "/nothing/here", 404, "not-found"),
        ("GET", "/..%2f..%2fbundle.json", 404, "not-found"),
        ("DELETE", "/v1/model", 405, "method-not-allowed"),
    ],
)
def test_errors_are_problems(client: httpx.Client, method: str, path: str, status: int, kind: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:breastlens:problem:{kind}"
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]


def test_bodies_that_are_no_form_are_refused(client: httpx.Client) -> None:
    for content, kind, status in (
        (b"{}", "application/json", 415),
        (b"", "multipart/form-data", 415),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x", 400),
        (b"", "multipart/form-data; boundary=x", 400),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422),
    ):
        answer = client.post("/v1/predictions", content=content, headers={"content-type": kind})
        assert answer.status_code == status, (content, answer.text)


def test_a_patient_id_too_many_or_another_field_is_refused(client: httpx.Client, images: list[Path]) -> None:
    file = ("x.png", images[0].read_bytes())
    for data, files in (
        ({"patient_id": ["a", "b"]}, [("files", file)]),
        ({"other": "a"}, [("files", file)]),
        ({}, [("file", file)]),
        ({"patient_id": "a" * 257}, [("files", file)]),
        ({"files": "text"}, [("files", file)]),
    ):
        answer = client.post("/v1/predictions", files=files, data=data)
        assert answer.status_code == 422, data


def _write_dicom(path: Path, grey: np.ndarray[Any, Any]) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    image.Rows, image.Columns = grey.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = grey.tobytes()
    image.save_as(path)


def _decode(text: str) -> np.ndarray[Any, Any]:
    data = np.frombuffer(io.BytesIO(base64.b64decode(text)).getvalue(), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
