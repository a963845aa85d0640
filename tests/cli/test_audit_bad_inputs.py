"""Bad and odd input to ``audit``: each gets a finding or one clear line, in seconds, and never a traceback.

Where no probe is needed, more folds are asked for than there are patients, so that none is trained.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from breastlens.errors import WeightsError
from breastlens.models import feature_network
from breastlens.runs import probes

TABLE_ONLY = ("--image-size", "32", "--folds", "1000", "--json", "--quiet")
PROBED = ("--image-size", "32", "--folds", "2", "--json", "--quiet")
SICK = 12
"""Images of each category in `images`; the sick ones come last."""


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageNet weights are out of reach, so that the probes use texture and load no network."""

    def refuse(*_: object) -> None:
        raise WeightsError("the network is unreachable")

    monkeypatch.setattr(feature_network, "resolve_weights", refuse)


@pytest.fixture
def few_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the controls that see a part of the image only one, because each takes a probe."""
    each = probes.occlusions
    monkeypatch.setattr(
        probes, "occlusions", lambda *given: tuple(one for one in each(*given) if one.name == "shuffled")
    )


@dataclass(frozen=True)
class Answer:
    """What an audit said as JSON."""

    code: int
    facts: dict[str, Any]

    @property
    def codes(self) -> set[str]:
        return {each["code"] for each in self.facts["findings"]}

    def finding(self, code: str) -> dict[str, Any]:
        (found,) = [each for each in self.facts["findings"] if each["code"] == code]
        return found

    def property(self, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.facts["properties"] if each["name"] == name]
        return found

    def within(self, column: str) -> dict[str, Any]:
        (found,) = [each for each in self.facts["matched"] if each["column"] == column]
        return found


@pytest.fixture
def answer(command: Callable[..., Any]) -> Callable[..., Answer]:
    """Runs an audit that must answer with one JSON document on standard output, and nothing beside it."""

    def call(*arguments: object) -> Answer:
        done = command("audit", *arguments)
        assert done.err == ""
        facts = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        return Answer(done.code, facts)

    return call


def draw(seed: int, side: int = 40) -> np.ndarray:
    """Soft spots that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), side / 20)
    return cv2.normalize(soft, None, 20, 220, cv2.NORM_MINMAX)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve unlike images a category."""
    for start, category in ((0, "healthy"), (SICK, "sick")):
        (tmp_path / "images" / category).mkdir(parents=True)
        for number in range(start, start + SICK):
            cv2.imwrite(str(tmp_path / "images" / category / f"{number:02}.png"), draw(number))
    return tmp_path / "images"


@pytest.fixture
def manifest(images: Path) -> Callable[..., tuple[str, Path]]:
    """Writes a manifest with further columns from functions of the row, and gives the option that names it."""

    def write(
        columns: dict[str, Callable[[int], object]], patient: Callable[[int], str] = "P{}".format
    ) -> tuple[str, Path]:
        paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
        table = images.parent / "manifest.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "category", "patient_id", *columns])
            for row, path in enumerate(paths):
                values = [each(row) for each in columns.values()]
                rows.writerow([path, path.split("/")[0], patient(row), *values])
        return "--manifest", table

    return write


def side(row: int) -> str:
    return "B" if row >= SICK else "A"


class TestColumns:
    def test_dates_that_never_were_do_not_hide_the_others(self, answer, images, manifest) -> None:
        dates = manifest(
            {
                "acquired": lambda row: (
                    f"{2001 + row}-{'02-30' if row < 3 else '05-01'}" if row < SICK else f"03/{row:02}/21"
                ),
                "exported": lambda row: 40_000 + 366 * row,
            }
        )
        found = answer(images, *dates, *TABLE_ONLY)
        told = found.finding("dates-hardly-overlap")["what"]
        assert "only positive images in 2021; only negative images in 2004 to 2012" in told
        assert found.property("the column 'acquired'")["images"] == 21
        assert found.property("the column 'exported'")["untested"] == "every image has a value of its own"

    @pytest.mark.usefixtures("few_controls")
    def test_strata_that_leave_nothing_to_compare(self, answer, images, manifest) -> None:
        columns = {
            "blank": lambda row: " n/a ",
            "unique": lambda row: f"u{row}",
            "one_apiece": side,
            "scanned": lambda row: "2021-02-30" if row % 3 else f"2021-03-{1 + row:02}",
            "huge": lambda row: f"{(-1) ** row * (1 + row / 100)}e308" if row % 6 == 0 else row / 10,
        }
        asked = [text for name in columns for text in ("--within", name)]
        found = answer(images, *manifest(columns), *asked, *PROBED)
        assert found.code == 0
        reasons = {name: found.within(name)["reason"] for name in ("blank", "unique", "one_apiece")}
        assert reasons == {
            "blank": "the stratum of every image is unknown",
            "unique": "no stratum holds images of both labels",
            "one_apiece": "no stratum holds images of both labels",
        }
        assert found.within("blank")["images_left_out"] == 24
        assert found.finding("column-tells-label")["what"].startswith("The column 'one_apiece' tells")

    @pytest.mark.parametrize("number", ["1e308", "-1e308", "1e400", "inf", "-inf", "nan"])
    def test_numbers_that_no_sum_can_hold(self, answer, images, manifest, number: str) -> None:
        table = manifest({"dose": lambda row: number if row in (0, 23) else row / 2})
        found = answer(images, *table, "--within", "dose:quartile", *TABLE_ONLY)
        dose = found.property("the column 'dose'")
        assert dose["images"] == 22
        assert dose["effect"] == 1
        assert dose["positive"] == "median 8.5 (6 to 11)"

    def test_names_and_values_that_are_code(self, command, images, manifest) -> None:
        names = (
            "a b",
            "größe",
            'it\'s "q"',
            "<script>alert(1)</script>",
            "{{ 7*7 }}",
            "[red]x[/red]",
            "n" * 300,
        )
        columns: dict[str, Callable[[int], object]] = dict.fromkeys(names, side)
        columns["value"] = lambda row: "<img src=x>" if row < SICK else "\x1b[31mred\x07" + "v" * 5000
        out = images.parent / "audit"
        done = command("audit", images, *manifest(columns), *TABLE_ONLY[:4], "--out", out)
        assert done.code == 0, done.err
        page = (out / "audit.html").read_text(encoding="utf-8")
        assert "<script>alert" not in page
        assert "<img src=x>" not in page
        assert "49" not in page.split("{{ 7*7 }}")[0][-5:]
        assert "\x1b" not in done.out
        assert "\x07" not in done.out
        assert max(map(len, done.out.splitlines())) < 400
        for shown in ("'a b'", "'größe'", "'<script>alert(1)</script>'", "'[red]x[/red]'"):
            assert f"The column {shown} tells the label (Cramer's V 1.00)" in done.out

    def test_names_that_we_use_ourselves(self, answer, run, images, manifest) -> None:
        table = manifest(dict.fromkeys(("label", "excluded", "sha256", "bits", ""), side))
        found = answer(images, *table, *TABLE_ONLY)
        assert found.property("the column 'manifest_sha256'")["effect"] == pytest.approx(1)
        assert found.property("the column ''")["effect"] == pytest.approx(1)
        assert found.property("the column 'manifest_label'")["untested"].startswith(
            "its name says that it tells"
        )
        assert found.facts["data"]["used"] == 24
        told = run("audit", images, *table, *TABLE_ONLY, "--within", "sha256")
        assert told.endswith("did you mean 'manifest_sha256'?")

    def test_a_column_that_is_the_label_turned_round(self, answer, images, manifest) -> None:
        table = manifest({"group": lambda row: int(row < SICK), "minus": lambda row: -int(row >= SICK)})
        told = [each["what"] for each in answer(images, *table, *TABLE_ONLY).facts["findings"]]
        assert (
            "The column 'group' tells the label (Cramer's V 1.00): positive 0 (12); negative 1 (12)." in told
        )
        assert any(each.startswith("The column 'minus' tells the label (Cramer's V 1.00)") for each in told)

    def test_two_columns_of_one_name(self, run, images, manifest) -> None:
        _, table = manifest({"site": side, "place": side})
        table.write_text(table.read_text().replace("place", "site", 1))
        assert run("audit", images, "--manifest", table).endswith("has two columns named 'site'")

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("Sites", "did you mean 'site'?"),
            ("site:yaer", "'site:yaer' asks for 'yaer' of the column 'site'; expected "),
            ("visit:year", "received such as 'spring'"),
            ("blank:month", "it is blank everywhere"),
            ("visit:quartile", "the column 'visit' holds no numbers, so it has no quartiles; "),
        ],
    )
    def test_within_what_is_not_there(self, run, images, manifest, asked: str, said: str) -> None:
        columns = {"site": side, "visit": lambda row: ("spring", "monday")[row % 2], "blank": lambda _: ""}
        assert said in run("audit", images, *manifest(columns), "--within", asked)


class TestPatients:
    def test_one_patient_in_all(self, answer, images, manifest) -> None:
        found = answer(images, *manifest({}, patient=lambda _: "P"), *PROBED)
        assert found.code == 0
        assert {"few-patients", "patients-in-both-labels"} <= found.codes
        assert found.facts["notes"] == [
            "No probe could be trained: 2 folds need 2 patients of each label; there are 1 positive and 1 negative "
            "(whoever shares a picture counts as one, and an image or file of unknown patient does); at least 2 are "
            "needed."
        ]

    def test_parts_that_share_a_picture_and_what_strict_says(self, answer, run, tmp_path: Path) -> None:
        data, rows = tmp_path / "data", ["path,category,split"]
        for number, category in enumerate(("healthy", "sick")):
            (data / category).mkdir(parents=True)
            for part in ("train", "test"):
                shift = 8 * (part == "test")
                cv2.imwrite(str(data / category / f"{part}.png"), draw(number, 128) + np.uint8(shift))
                rows.append(f"{category}/{part}.png,{category},{part}")
        (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
        found = answer(data, "--manifest", tmp_path / "m.csv", *TABLE_ONLY, "--strict")
        assert found.code == 1
        assert found.finding("near-duplicates-across-splits")["count"] == 4
        assert run("audit", data, "--strict", "--within", "nosuch").startswith("there is no column 'nosuch'")


class TestFiles:
    def test_every_image_unreadable_but_two(self, answer, run, images: Path) -> None:
        first = (images / "healthy" / "00.png", images / "sick" / "12.png")
        for path in set(images.rglob("*.png")) - set(first):
            path.write_bytes(b"junk of " + path.name.encode())
        found = answer(images, *PROBED)
        assert found.finding("unreadable-files")["count"] == 22
        assert "No model was trained" in found.facts["verdict"]
        for path in first:
            path.write_bytes(b"junk of " + path.name.encode())
        assert run("audit", images, *PROBED).startswith(
            f"none of 24 files in {images} can be read as an image"
        )

    def test_hundreds_of_identical_images_in_one_class(self, answer, images: Path) -> None:
        content = (images / "healthy" / "00.png").read_bytes()
        for number in range(300):
            (images / "healthy" / f"copy{number:03}.png").write_bytes(content)
        found = answer(images, *TABLE_ONLY)
        assert found.finding("duplicates-within-category")["count"] == 301
        assert not any("near-duplicates" in code for code in found.codes)

    def test_all_black_in_one_class(self, answer, images: Path) -> None:
        for path in (images / "sick").iterdir():
            cv2.imwrite(str(path), np.zeros((40, 40), np.uint8))
        found = answer(images, *PROBED)
        assert found.finding("blank-images")["count"] == SICK
        assert "grey-levels-tell-label" not in found.codes  # copies are one image: nothing can be tested
        assert "there are 1 positive" in found.facts["notes"][0]  # copies of one black image are one

    def test_formats_of_all_kinds(self, answer, images: Path) -> None:
        generator = np.random.default_rng(0)
        grey = generator.integers(0, 255, (40, 40), dtype=np.uint8)
        sick = images / "sick"
        cv2.imwrite(str(sick / "deep.png"), generator.integers(0, 65535, (40, 40), dtype=np.uint16))
        cv2.imwrite(str(sick / "float.tiff"), generator.random((40, 40), dtype=np.float32))
        cv2.imwrite(str(sick / "clear.png"), np.dstack([grey] * 4))
        cv2.imwrite(str(sick / "bits.png"), grey, [cv2.IMWRITE_PNG_BILEVEL, 1])
        np.save(sick / "matrix.npy", generator.uniform(20, 38, (40, 40)))
        np.save(sick / "nothing.npy", np.full((40, 40), np.nan))
        np.savetxt(sick / "matrix.csv", generator.uniform(20, 38, (40, 40)), delimiter=",")
        (sick / "empty.png").touch()
        (sick / "two words\nand a line.png").write_bytes((sick / "12.png").read_bytes())
        (sick / "up").symlink_to(images, target_is_directory=True)
        found = answer(images, *TABLE_ONLY)
        unreadable = ["sick/empty.png", "sick/float.tiff", "sick/nothing.npy"]
        assert found.finding("unreadable-files")["records"] == unreadable
        assert found.finding("duplicates-within-category")["records"] == [
            "sick/12.png",
            "sick/two words\nand a line.png",
        ]
        assert found.facts["data"]["found"] == 24 + 9  # the link to a folder above is not followed


class TestOptions:
    def test_more_folds_than_patients_and_labels_99_to_1(self, answer, images: Path) -> None:
        for path in sorted((images / "sick").iterdir())[1:]:
            path.unlink()
        found = answer(images, *TABLE_ONLY)
        assert found.code == 0
        assert {"few-patients", "class-imbalance"} <= found.codes
        assert found.facts["notes"][0].startswith("No probe could be trained: 1000 folds need 1000 patients")

    def test_categories_that_are_labels_already(self, run, images: Path) -> None:
        (images / "healthy").rename(images / "0")
        (images / "sick").rename(images / "1")
        assert run("audit", images) == (
            "no category 'sick' for --positive; the categories are 0, 1; name one of them with --positive"
        )

    @pytest.mark.parametrize("border", [-1, 0, 16, 63, 64, 1000])
    def test_borders_that_leave_nothing(self, run, images: Path, border: int) -> None:
        assert "border" in run("audit", images, "--border", border, *PROBED)

    @pytest.mark.parametrize("content", [None, b"", b"{", b"{}", b"[]", b"\xff\xfe\x00"])
    def test_a_broken_bundle(self, run, images: Path, content: bytes | None) -> None:
        model = images.parent / "model"
        model.mkdir()
        if content is not None:
            (model / "bundle.json").write_bytes(content)
        assert "bundle.json" in run("audit", images, "--model", model, *TABLE_ONLY)

    def test_out_where_nothing_can_be_written(self, run, images: Path) -> None:
        (images.parent / "file").write_text("keep me")
        assert run("audit", images, "--out", images.parent / "file").endswith("or move it away first")
        inside = images.parent / "file" / "audit"
        assert run("audit", images, *PROBED, "--out", inside) == (
            f"cannot write {inside}: {inside.parent} is a file where a directory is needed; choose another --out"
        )
        assert (images.parent / "file").read_text() == "keep me"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal for one process")
def test_an_interrupt_while_images_are_looked_at(images: Path) -> None:
    command = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from breastlens.__main__ import main\n"
        "main()\n"
    )
    arguments = ["audit", images, "--image-size", "32", "--weights", "none", "--backbone", "mobilenet:0.25"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *map(str, arguments), "--out", str(images.parent / "audit")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    with process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            if line.startswith("look at images"):
                assert list(images.parent.glob(".audit.unfinished-*"))
                process.send_signal(signal.SIGINT)
                break
        assert process.stderr.read().splitlines()[-1] == "Interrupted: what was not finished is not kept."
        assert process.stdout.read() == ""
        assert process.wait() == 130
    assert [path.name for path in images.parent.iterdir()] == ["images"]
