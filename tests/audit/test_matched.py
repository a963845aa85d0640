from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from breastlens.audit.acquisition import find_acquisition_problems, measure_associations
from breastlens.audit.matched import flagged_specifications, score_within
from breastlens.audit.nuisance import nuisance_auc
from breastlens.audit.strata import check_specification, find_column, strata
from breastlens.cohort import Cohort
from breastlens.cohort.splits import split_folds, split_groups
from breastlens.errors import DataError
from breastlens.evaluation.stratified import stratified_auc
from breastlens.training.probe import fit_probe


@pytest.fixture
def used() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(12)],
            "label": [0, 1] * 6,
            "patient_id": [f"T{row}" for row in range(12)],
            "format": ["PNG"] * 11 + ["JPEG"],
            "bits": 8,
            "acquired": ["2012-10-08", "08.11.2012", "", "2013-01-01", *["2013-02-01"] * 8],
            "site": ["A", "B", " A ", "unknown", *["A"] * 8],
            "age": ["", *(str(40.5 + row) for row in range(11))],
            "grade:year": ["x"] * 12,
            "dose": ["1", "2", "3", *["2"] * 9],
        }
    )


class TestStrata:
    def test_categories(self, used):
        assert strata(used, "site")[:4].tolist() == ["A", "B", "A", ""]
        assert strata(used, "format").tolist() == ["PNG"] * 11 + ["JPEG"]

    @pytest.mark.parametrize("specification", ["acquired", "acquired:year"])
    def test_years(self, used, specification):
        assert strata(used, specification)[:5].tolist() == ["2012", "2012", "", "2013", "2013"]

    def test_months(self, used):
        assert strata(used, "acquired:month")[:4].tolist() == ["2012-10", "2012-11", "", "2013-01"]

    @pytest.mark.parametrize("specification", ["age", "age:quartile"])
    def test_quartiles(self, used, specification):
        """40.5 to 50.5 in steps of one: borders 43, 45.5 and 48."""
        expected = ["", *["quartile 1"] * 3, *["quartile 2"] * 3, *["quartile 3"] * 2, *["quartile 4"] * 3]
        assert strata(used, specification).tolist() == expected

    def test_a_column_whose_name_has_a_colon_goes_first(self, used):
        assert set(strata(used, "grade:year")) == {"x"}

    def test_few_numbers_are_categories_unless_quartiles_are_asked_for(self, used):
        assert set(strata(used, "dose")) == {"1", "2", "3"}
        assert set(strata(used, "dose:quartile")) == {"quartile 1", "quartile 4"}

    @pytest.mark.parametrize(
        ("specification", "said"),
        [
            ("aquired:year", r"no column 'aquired' .* 'acquired', 'site', .* did you mean 'acquired'\?"),
            ("acquired:decade", "asks for 'decade'"),
            ("site:year", "holds no dates"),
            ("site:quartile", "holds no numbers"),
            ("label", "no column 'label'"),
            ("patient_id", "no column 'patient_id'"),
            ("", "no column ''"),
        ],
    )
    def test_what_is_not_there_is_refused_with_what_is(self, used, specification, said):
        with pytest.raises(DataError, match=said):
            strata(used, specification)

    def test_a_column_without_a_name_takes_no_others_place(self, used):
        named = used.assign(**{"": "A", "manifest_label": "B"})
        assert set(strata(named, "")) == {"A"}
        with pytest.raises(DataError, match=r"no column 'nosuch' to divide by"):
            strata(named, "nosuch")
        with pytest.raises(DataError, match=r"no column 'label' .*; did you mean 'manifest_label'\?"):
            strata(named, "label")

    def test_what_is_there_instead_is_shown(self, used):
        with pytest.raises(DataError, match=r"holds no dates, .*; received such as 'monday'"):
            strata(used.assign(visit="monday"), "visit:year")
        with pytest.raises(DataError, match=r"holds no dates, .*; it is blank everywhere"):
            strata(used.assign(visit="n/a"), "visit:year")

    def test_numbers_too_large_are_in_no_quartile(self, used):
        dose = [str(row / 2) for row in range(len(used))]
        dose[-1] = "-1e308"
        assert strata(used.assign(dose=dose), "dose:quartile")[[0, -1]].tolist() == ["quartile 1", ""]


class TestFiles:
    """Columns of the properties can be matched on as those of the manifest can."""

    @pytest.fixture
    def properties(self, used) -> pd.DataFrame:
        taken = ["2012-10-08", "2013-11-08", None, *["2014-01-01"] * 9]
        quality = [np.nan, *np.arange(70.0, 81.0)]
        return pd.DataFrame(
            {"taken": taken, "jpeg_quality": quality, "site": ["of the file"] * 12}, index=used.index
        )

    def test_they_are_read_for_what_they_are(self, used, properties):
        for specification in ("taken", "taken:year"):
            assert strata(used, specification, properties)[:4].tolist() == ["2012", "2013", "", "2014"]
        assert strata(used, "taken:month", properties)[0] == "2012-10"
        assert strata(used, "jpeg_quality", properties)[:2].tolist() == ["", "quartile 1"]

    def test_the_manifest_goes_first(self, used, properties):
        assert strata(used, "site", properties)[0] == "A"
        assert find_column(used, "site", properties).tolist()[2] == " A "
        assert find_column(used, "taken:year", properties).name == "taken"

    def test_without_them_there_is_no_such_column(self, used):
        with pytest.raises(DataError, match="no column 'taken'"):
            strata(used, "taken:year")

    def test_a_specification_is_checked_before_files_are_known(self, used):
        for specification in ("taken:year", "model", "jpeg_quality:quartile", "site", "acquired:month"):
            check_specification(used, specification)
        for specification, said in (
            ("takn", "did you mean 'taken'"),
            ("taken:decade", "asks for 'decade'"),
            ("site:year", "holds no dates"),
        ):
            with pytest.raises(DataError, match=said):
                check_specification(used, specification)

    def test_scores_within_what_files_tell(self, used, properties):
        scores = np.linspace(0, 1, 12)
        (told,) = score_within(used, scores, ["taken:year"], seed=0, properties=properties)
        assert told["column"] == "taken:year"
        assert told["images"] == 9
        assert told["images_left_out"] == 3
        assert told["strata"] == ["2014"]

    def test_linked_images_are_drawn_together(self, used):
        scores = np.random.default_rng(0).random(12)
        nameless = used.assign(patient_id="")
        (told,) = score_within(nameless, scores, ["format"], seed=0, linked=np.arange(12) // 2)
        assert "sets of linked images" in told["auc"]["method"]


class TestFlagged:
    """120 patients: the sick of 2015, the healthy of 2014 and 2016, so that earlier or later tells nothing."""

    @pytest.fixture
    def apart(self) -> pd.DataFrame:
        labels = np.repeat([0, 1], 60)
        days = np.where(labels == 1, "2015-06-15", np.where(np.arange(120) % 2, "2014-06-15", "2016-06-15"))
        return pd.DataFrame(
            {
                "path": [f"{row}.png" for row in range(120)],
                "label": labels,
                "category": np.where(labels == 1, "sick", "healthy"),
                "patient_id": [f"P{row}" for row in range(120)],
                "format": "PNG",
                "bits": 8,
                "width": 128,
                "height": 128,
                "acquired": days,
            }
        )

    def test_a_date_that_hardly_overlaps_is_scored_within_its_years(self, apart):
        properties = pd.DataFrame(index=apart.index)
        associations = measure_associations(apart, properties, seed=0)
        findings = find_acquisition_problems(apart, properties, seed=0, associations=associations)
        assert [finding.code for finding in findings] == ["dates-hardly-overlap"]
        assert flagged_specifications(associations, apart) == []
        assert flagged_specifications(associations, apart, properties, findings) == ["acquired:year"]
        assert set(strata(apart, "acquired:year")) == {"2014", "2015", "2016"}

    def test_so_is_the_date_in_the_files(self, apart):
        properties = pd.DataFrame({"taken": apart["acquired"]}, index=apart.index)
        apart = apart.drop(columns="acquired")
        associations = measure_associations(apart, properties, seed=0)
        findings = find_acquisition_problems(apart, properties, seed=0, associations=associations)
        assert [finding.code for finding in findings] == ["dates-hardly-overlap"]
        assert flagged_specifications(associations, apart, properties, findings) == ["taken:year"]
        assert flagged_specifications(associations, apart, findings=findings) == []  # nothing to match on

    def test_what_tells_the_label_is_named_the_strongest_first(self, apart):
        labels = apart["label"].to_numpy()
        apart["acquired"] = np.where(
            labels == 1, "2016-01-05", np.where(np.arange(120) % 3, "2014-02-03", "2016-01-05")
        )
        apart["site"] = np.where(labels == 1, "B", "A")
        associations = measure_associations(apart, pd.DataFrame(index=apart.index), seed=0)
        assert flagged_specifications(associations, apart) == ["site", "acquired:year"]


@pytest.mark.real
def test_thermograms_within_years(shared_dir):
    """What a probe on thumbnails loses when years are held equal, and how well thumbnails tell the years."""
    import cv2

    root = shared_dir / "data/dmr"
    used = Cohort.read(root, manifest=root / "manifest.csv", exclude_when="note").included
    shrunk = [
        cv2.resize(cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE), (16, 12), interpolation=cv2.INTER_AREA)
        for path in used["path"]
    ]
    features = np.stack(shrunk).reshape(len(used), -1) / 255
    labels, groups = used["label"].to_numpy(), split_groups(used)
    folds = split_folds(labels, groups, 5, seed=0)
    scores = np.full(len(used), np.nan)
    for fold in range(5):
        inside = folds != fold
        scores[~inside] = fit_probe(features[inside], labels[inside], groups[inside], seed=0).scores(
            features[~inside]
        )
    patients = used["patient_id"].tolist()
    whole = stratified_auc(labels, scores, ["all"] * len(used), patients)
    within = stratified_auc(labels, scores, strata(used, "acquired:year").tolist(), patients)
    assert within["strata_used"] == {"2013": [78, 11], "2014": [8, 11], "2015": [2, 16]}
    assert set(within["strata_left_out"]) == {"2012", "2018", "2019", "2020"}
    assert within["value"] < whole["value"] - 0.1
    found = nuisance_auc(features, used["acquired"], labels, groups, seed=0)
    assert found["label"] == 0
    assert found["auc"] > 0.7
    assert found["asked"] == "later than 2013-01-15 from the rest"
