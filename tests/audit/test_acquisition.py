from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chi2_contingency, mannwhitneyu, rankdata, ttest_ind

from breastlens.audit.acquisition import Association, find_acquisition_problems, measure_associations
from breastlens.audit.association import (
    ENOUGH_REACHED,
    Statistic,
    cliffs_delta,
    compare_categories,
    compare_numbers,
    compare_overlap,
    cramers_v,
    find_blocks,
    permutation_p_values,
)
from breastlens.audit.columns import read_column, say_why_untested
from breastlens.audit.dates import measure_overlap, name_years
from breastlens.audit.finding import Finding
from breastlens.audit.properties import PROPERTY_COLUMNS
from breastlens.audit.survey import survey_images
from breastlens.cohort import Cohort
from breastlens.evaluation.significance import holm
from breastlens.imaging.phantom import PhantomSettings, write_cohort

SICK, COUNT = 40, 100


def make_used(**columns: object) -> pd.DataFrame:
    """40 sick and 60 healthy patients with an image each, all alike; a column is a list or row number to value."""
    used = pd.DataFrame(
        {
            "path": [f"{'sick' if row < SICK else 'healthy'}/{row:03}.png" for row in range(COUNT)],
            "frame": 0,
            "label": [1] * SICK + [0] * (COUNT - SICK),
            "patient_id": [f"T{row}" for row in range(COUNT)],
            "width": 640,
            "height": 480,
            "format": "PNG",
            "bits": 8,
        }
    )
    return change(used, columns)


def make_properties(**columns: object) -> pd.DataFrame:
    same = {
        "container": "PNG",
        "name_pattern": "0.a",
        "colour": "grey",
        "alpha": False,
        "grey_levels": 200,
    }
    table = pd.DataFrame({name: [same.get(name)] * COUNT for name in PROPERTY_COLUMNS}, dtype=object)
    return change(table, columns)


def change(table: pd.DataFrame, columns: dict[str, object]) -> pd.DataFrame:
    for name, values in columns.items():
        if not isinstance(values, dict):
            table[name] = values
            continue
        if name not in table:
            table[name] = ""
        table[name] = [values.get(row, value) for row, value in enumerate(table[name])]
    return table


def only(used: pd.DataFrame, properties: pd.DataFrame | None = None) -> Finding:
    found = find_acquisition_problems(used, make_properties() if properties is None else properties, seed=0)
    assert len(found) == 1, [finding.code for finding in found]
    return found[0]


def association(used: pd.DataFrame, name: str) -> Association:
    (found,) = (
        each
        for each in measure_associations(used, make_properties(), seed=0)
        if each.name == f"the column {name!r}"
    )
    return found


def test_images_that_are_all_alike_have_no_findings():
    assert find_acquisition_problems(make_used(), make_properties(), seed=0) == []
    assert {each.untested for each in measure_associations(make_used(), make_properties(), seed=0)} == {
        "it has one value only",
        "no image has it",
        "it is blank everywhere",
    }


@pytest.mark.parametrize(
    ("code", "column", "value", "said"),
    [
        ("format-tells-label", "format", "JPEG", "positive JPEG 30, PNG 10; negative PNG 60"),
        ("size-tells-label", "width", 320, "positive 320x480 30, 640x480 10; negative 640x480 60"),
        ("bits-tell-label", "bits", 16, "positive 16 (30), 8 (10); negative 8 (60)"),
    ],
)
def test_what_the_table_tells(code, column, value, said):
    finding = only(make_used(**{column: dict.fromkeys(range(30), value)}))
    assert (finding.code, finding.severity, finding.count) == (code, "warning", 100)
    assert said in finding.what
    assert finding.evidence is not None
    assert "permutations of labels over patients" in finding.evidence.method


@pytest.mark.parametrize(
    ("code", "column", "value", "said"),
    [
        ("compression-tells-label", "jpeg_tables", "aaaaaaaa", ""),
        ("compression-tells-label", "compression", "progressive", "The kind of compression"),
        ("colour-tells-label", "colour", "colour", "positive colour 30, grey 10; negative grey 60"),
        ("colour-tells-label", "alpha", True, "transparency"),
        ("device-tells-label", "maker", "FLIR", "positive FLIR 30, none 10; negative none 60"),
        ("device-tells-label", "software", "ImageJ", "The software tells the label (Cramer's V 0.80)"),
        ("name-tells-label", "name_pattern", "A-0.a", "positive A-0.a 30, 0.a 10; negative 0.a 60"),
    ],
)
def test_what_the_files_tell(code, column, value, said):
    base = {"jpeg_tables": "bbbbbbbb", "compression": "baseline"}
    properties = make_properties(**{name: [base[name]] * COUNT for name in base if name == column})
    finding = only(make_used(), change(properties, {column: dict.fromkeys(range(30), value)}))
    assert (finding.code, finding.severity) == (code, "warning")
    assert said in finding.what


def test_quality_is_compared_among_files_of_the_commonest_format_only():
    """The other format tells the label; that its files have another quality is no second finding."""
    quality = [75] * 30 + [90] * 70
    finding = only(make_used(format=dict.fromkeys(range(30), "WEBP")), make_properties(jpeg_quality=quality))
    assert finding.code == "format-tells-label"
    finding = only(make_used(), make_properties(jpeg_quality=quality))
    assert finding.code == "compression-tells-label"
    assert "positive median 75 (75 to 90); negative median 90 (90 to 90)" in finding.what
    assert finding.evidence is not None
    assert finding.evidence.value == pytest.approx(-0.75)  # 30 of 40 have less, 10 the same


def test_properties_of_one_kind_are_one_finding_the_strongest_first():
    finding = only(
        make_used(),
        make_properties(
            maker=["FLIR"] * 30 + ["Siemens"] * 70,
            model=["T650"] * 38 + ["S2000"] * 62,
            software=["A"] * 25 + ["B"] * 75,
        ),
    )
    assert finding.what.startswith("The model of the device tells the label (Cramer's V 0.9")
    assert finding.what.endswith("So do the maker of the device and the software.")


@pytest.mark.parametrize(("shift", "severity"), [(2, "info"), (6, "warning")])
def test_grey_levels_are_a_warning_only_where_the_difference_is_large(shift, severity):
    levels = [200 + row % 10 + (shift if row < SICK else 0) for row in range(COUNT)]
    finding = only(make_used(), make_properties(grey_levels=levels))
    assert (finding.code, finding.severity) == ("grey-levels-tell-label", severity)


def test_what_is_alike_in_both_classes_is_not_told():
    used = make_used(format=dict.fromkeys(range(0, 100, 3), "JPEG"), site=["A", "B"] * 50)
    assert find_acquisition_problems(used, make_properties(), seed=0) == []


def test_few_images_tell_nothing_however_unlike_they_are():
    used = make_used(site=["A"] * SICK + ["B"] * 60).iloc[[0, 1, 2, 97, 98, 99]].reset_index(drop=True)
    assert find_acquisition_problems(used, make_properties().iloc[:6], seed=0) == []


class TestColumns:
    def test_each_column_is_a_finding_with_its_name(self):
        used = make_used(site=["A"] * 30 + ["B"] * 70, device=["X"] * 39 + ["Y"] * 61)
        found = find_acquisition_problems(used, make_properties(), seed=0)
        assert [finding.code for finding in found] == ["column-tells-label"] * 2
        assert found[0].what.startswith("The column 'device' tells the label (Cramer's V 0.98)")
        assert found[1].what.endswith("positive A 30, B 10; negative B 60.")

    def test_numbers(self):
        finding = only(
            make_used(
                age=[str(60 + row % 20) for row in range(40)] + [str(40 + row) for row in range(30)] * 2
            )
        )
        assert finding.what.startswith("The column 'age' tells the label (Cliff's delta 0.")
        assert "positive median 69.5 (60 to 79); negative median 54.5 (40 to 69)" in finding.what

    def test_a_number_that_is_only_filled_in_for_one_label(self):
        """All dates lie in one year, yet only the sick have one."""
        used = make_used(scanned={row: f"2015-03-{1 + row % 28:02}" for row in [*range(40), 50, 60, 70]})
        finding = only(used)
        assert finding.what.startswith("The column 'scanned', filled in or blank, tells the label")

    def test_a_column_that_was_used_to_leave_images_out_is_blank_and_falls_out(self):
        assert association(make_used(note=[""] * 100), "note").untested == "it is blank everywhere"

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ([f"scan {row}" for row in range(100)], "every image has a value of its own"),
            ([str(row) for row in range(100)], "every image has a value of its own"),
            (["A"] * 100, "it has one value only"),
            (
                [f"text {row // 2}" if row < 90 else f"a{row}" for row in range(100)],
                "most images have a value",
            ),
            ([f"the image is blurred at {row // 4}" for row in range(100)], "it is free text"),
        ],
    )
    def test_what_names_images_is_not_tested(self, values, reason):
        found = association(make_used(extra=values), "extra")
        assert reason in found.untested
        assert (found.effect, found.positive, found.tells) == (None, "", False)

    def test_another_id_of_the_patients_is_not_tested(self):
        patients = [f"T{row // 2}" for row in range(100)]
        used = make_used(patient_id=patients, number=[str(1000 + row // 2) for row in range(100)])
        assert association(used, "number").untested == "it names the patients"

    @pytest.mark.parametrize("name", ["finding", "tumour_side", "BI-RADS", "Diagnosis", "final pathology"])
    def test_a_diagnosis_is_not_tested(self, name):
        used = make_used(**{name: ["x"] * SICK + ["y"] * 60})
        assert association(used, name).untested == "its name says that it tells the diagnosis itself"

    @pytest.mark.parametrize("name", ["labelled_by", "classroom", "site", "upgraded"])
    def test_a_name_that_only_resembles_one_is(self, name):
        assert association(make_used(**{name: ["x"] * SICK + ["y"] * 60}), name).tells

    @pytest.mark.parametrize(
        ("text", "year"),
        [
            ("2012-10-08", 2012),
            ("2012/1/8", 2012),
            ("20121008", 2012),
            ("20121008.0", 2012),
            ("20121008 111213", 2012),
            ("2012-10-08T11:12:13Z", 2012),
            ("2012:10:08 11:12", 2012),
            ("08.10.2012", 2012),
            ("12/31/2012", 2012),
            ("31/12/2012", 2012),
            ("2012-10", 2012),
        ],
    )
    def test_dates_are_known_however_they_are_written(self, text, year):
        column = read_column([text, text, None])
        assert (column.kind, column.years.tolist()) == ("date", [year, year, 0])

    def test_other_texts_are_no_dates(self):
        for text in ("2012", "99999999", "12345678", "2012-13-01", "1.2.3", "T2012-10-08", "0000-00-00"):
            assert read_column([text]).kind == "category", text
        assert read_column(["2012"], "year of scan").years.tolist() == [2012]

    def test_six_digits_are_a_month_only_where_the_name_says_so(self):
        for name in ("month", "scan_month", "acquisition date", "ScanDate"):
            assert read_column(["201512", "201601.0"], name).years.tolist() == [2015, 2016], name
        for name in ("", "dose", "candidate", "accession"):
            assert read_column(["201512", "201601"], name).kind == "category", name
        assert read_column(["201513", "201600"], "month").kind == "category"

    def test_whole_numbers_from_200000_on_stay_numbers(self):
        numbers = [str(number) for number in range(200_000, 210_000, 7)]
        for name in ("reading", "date", "month", "year"):
            column = read_column(numbers, name)
            assert column.kind == "number", name
            assert column.numbers[0] == 200_000

    def test_numbers_of_few_kinds_are_categories(self):
        assert read_column([str(value % 10) for value in range(50)]).kind == "category"
        column = read_column(["1,5", "n/a", *map(str, range(20))])
        assert column.kind == "number"
        assert column.numbers[0] == 1.5
        assert np.isnan(column.numbers[1])

    @given(
        st.lists(st.none() | st.text(max_size=12) | st.floats() | st.integers(), max_size=30),
        st.text(max_size=8),
    )
    def test_any_column_is_read(self, values, name):
        column = read_column(values, name)
        assert column.texts.size == column.numbers.size == column.years.size == len(values)
        assert isinstance(say_why_untested(name, column, [""] * len(values)), str)


class TestDates:
    def acquired(self, sick: list[int], healthy: list[int]) -> list[str]:
        years = [sick[row % len(sick)] for row in range(SICK)]
        years += [healthy[row % len(healthy)] for row in range(COUNT - SICK)]
        return [f"{year}-{1 + row % 12:02}-05" for row, year in enumerate(years)]

    def test_years_with_one_label_are_named(self):
        used = make_used(acquired=self.acquired([2013, 2018, 2019, 2020], [2012, 2013]))
        finding = only(used)
        assert (finding.code, finding.severity, finding.count) == ("dates-hardly-overlap", "warning", 60)
        assert "only 25% of the positive images are from years with both labels" in finding.what
        assert "only positive images in 2018 to 2020; only negative images in 2012" in finding.what
        assert finding.evidence is not None
        assert finding.evidence.value == pytest.approx(0.25)
        assert len(finding.records) == 20

    def test_a_shift_within_shared_years_is_a_column_that_tells(self):
        used = make_used(acquired=self.acquired([2013, 2014, 2014, 2014], [2013, 2013, 2013, 2014]))
        finding = only(used)
        assert finding.code == "column-tells-label"
        assert "positive 2013 to 2014; negative 2013 to 2014" in finding.what

    def test_dates_in_the_files(self):
        finding = only(make_used(), make_properties(taken=self.acquired([2018], [2012])))
        assert finding.code == "dates-hardly-overlap"
        assert finding.what.startswith("By the date of the file, none of the positive images")

    def test_years_that_one_image_each_has_are_chance(self):
        """With a year an image no year can hold both labels, whatever the labels are."""
        used = make_used(made_in_year=[str(1900 + row * 37 % 100) for row in range(100)])
        assert find_acquisition_problems(used, make_properties(), seed=0) == []

    def test_however_many_dates_there_are_a_clear_one_is_found(self):
        """With 2000 dealings the smallest p value there can be is 0.0005, and 30 times that is more than 0.01."""
        rng = np.random.default_rng(0)
        columns = {
            f"d{k:02}": [f"{year}-05-01" for year in rng.integers(2012, 2014, COUNT)] for k in range(30)
        }
        used = make_used(acquired=self.acquired([2018], [2012]), **columns)
        assert only(used).what.startswith("By the column 'acquired'")

    def test_who_is_followed_for_years_and_who_comes_once(self):
        """Healthy women come every year, sick ones once, no year being special: most years hold no sick by chance."""
        patients = [*range(5), *np.repeat(np.arange(5, 65), 20)]
        used = pd.concat([make_used()] * 13, ignore_index=True).iloc[: len(patients)]
        used = used.assign(
            label=[int(patient < 5) for patient in patients], patient_id=[f"P{p}" for p in patients]
        )
        years = [*np.random.default_rng(1).integers(2000, 2020, 5), *np.tile(np.arange(2000, 2020), 60)]
        overlap = measure_overlap(used, "x", np.array(years), seed=0)
        assert overlap is not None
        assert overlap.shared <= 0.25
        assert overlap.p_value > 0.05

    def test_birth_dates_are_of_no_use_for_years(self):
        used = make_used(birth_date=self.acquired([1940, 1950, 1960], [1970, 1980, 1990]))
        assert only(used).code == "column-tells-label"

    def test_all_missing_one_value_and_an_image_a_label_are_answered(self):
        assert find_acquisition_problems(make_used(acquired=[""] * 100), make_properties(), seed=0) == []
        assert (
            find_acquisition_problems(make_used(acquired=["2015-01-01"] * 100), make_properties(), seed=0)
            == []
        )
        used = make_used(acquired=["2015-01-01"] * 50 + ["2016-01-01"] * 50)
        for rows in ([0, 99], [0, 1], [99], []):
            few = used.iloc[rows].reset_index(drop=True)
            assert find_acquisition_problems(few, make_properties().iloc[: len(rows)], seed=0) == []
        assert measure_overlap(used.iloc[:40], "x", np.full(40, 2015), seed=0) is None

    def test_what_cannot_be_read_in_a_column_of_dates_is_told_with_an_example(self):
        wrong = {3: "2020-13-45", 4: "5 März 2015", 5: "5 März 2015", 6: "44000", 7: "", 8: "n/a"}
        dates = [wrong.get(row, f"2015-03-{1 + row % 28:02}") for row in range(COUNT)]
        finding = only(make_used(visit=dates))
        assert (finding.code, finding.severity, finding.count) == ("unreadable-dates", "info", 4)
        assert finding.what == (
            "No date can be read from 4 of 98 values in the column 'visit', such as '5 März 2015'."
        )
        assert finding.records == ("sick/003.png", "sick/004.png", "sick/005.png", "sick/006.png")
        assert "YYYY-MM-DD" in finding.advice

    def test_each_column_with_unreadable_dates_is_told_whether_it_is_tested_or_not(self):
        dates = ["soon", *[f"2015-03-{1 + row % 28:02}" for row in range(COUNT - 1)]]
        used = make_used(visit=dates, birth_date=dates, biopsy=dates)
        found = find_acquisition_problems(used, make_properties(), seed=0)
        assert [finding.code for finding in found] == ["unreadable-dates"] * 3

    def test_texts_beside_dates_are_no_unreadable_dates_in_a_column_of_something_else(self):
        texts = [f"2015-03-{1 + row % 28:02}" if row % 4 == 0 else f"scan {row % 7}" for row in range(COUNT)]
        assert find_acquisition_problems(make_used(note=texts), make_properties(), seed=0) == []

    def test_a_date_that_hardly_overlaps_does_not_tell_the_label_as_well(self):
        used = make_used(acquired=self.acquired([2018], [2012]))
        assert association(used, "acquired").tells
        assert only(used).code == "dates-hardly-overlap"

    def test_years_in_words(self):
        assert name_years((2020, 2012, 2013, 2018, 2014)) == "2012 to 2014, 2018, 2020"
        assert name_years(()) == ""


class TestChance:
    """How often labels dealt anew do as well."""

    def test_an_image_of_its_own_patient_agrees_with_exact_tests(self):
        rng = np.random.default_rng(0)
        labels = np.array([0, 1] * 60)
        values = np.where(rng.random(120) < 0.4 + 0.15 * labels, "a", "b")
        numbers = rng.normal(size=120) + 0.3 * labels
        blocks, rows = find_blocks(labels, [""] * 120), np.arange(120)
        p_values = permutation_p_values(
            [compare_categories(values, rows, blocks), compare_numbers(numbers, rows, blocks)],
            labels,
            blocks,
            seed=1,
            draws=4000,
        )
        table = pd.crosstab(values, labels)
        assert p_values[0] == pytest.approx(chi2_contingency(table, correction=False).pvalue, abs=0.03)
        assert p_values[1] == pytest.approx(
            mannwhitneyu(numbers[labels == 1], numbers[labels == 0]).pvalue, abs=0.02
        )

    def test_the_real_statistics_are_those_of_the_closed_forms(self):
        """Of patients with one to three images, each counting once; two patients have no value."""
        rng = np.random.default_rng(3)
        patients = np.repeat(np.arange(30), rng.integers(1, 4, 30))
        labels = rng.integers(0, 2, 30)[patients]
        values, numbers = rng.integers(0, 3, labels.size), rng.integers(0, 9, labels.size).astype(float)
        rows = np.flatnonzero((patients > 1) & (rng.random(labels.size) < 0.8))
        blocks = find_blocks(labels, [f"P{patient:02}" for patient in patients])
        by_block = (
            pd.DataFrame({"rank": rankdata(numbers[rows]), "label": labels[rows]})
            .groupby(blocks[rows])
            .mean()
        )
        sides = [by_block.loc[by_block["label"] == label, "rank"] for label in (1, 0)]
        t = ttest_ind(*sides, equal_var=False).statistic
        found = compare_numbers(numbers[rows], rows, blocks)
        assert found.blocks.tolist() == by_block.index.tolist()
        real = by_block["label"].to_numpy(dtype=float)[None]
        assert found.measure(real)[0] == pytest.approx(t**2 / (1 + t**2))

        shares = pd.crosstab(blocks[rows], values[rows], normalize="index")
        one, two = (shares[by_block["label"] == label] for label in (1, 0))
        weights = 1 / shares.mean()
        apart = (weights * (one.mean() - two.mean()) ** 2).sum()
        variance = (weights * (one.var() / len(one) + two.var() / len(two))).sum()
        found = compare_categories(values[rows].astype(str), rows, blocks)
        assert found.measure(real)[0] == pytest.approx(apart / (apart + variance))

        # Years 0: both labels, year 1: positive only.
        overlap = compare_overlap(np.array([0, 0, 1, 1]), np.arange(4), np.arange(4)).measure
        assert overlap(np.array([[1.0, 0, 1, 1], [1, 0, 1, 0]])).tolist() == pytest.approx([2 / 3, 0.0])

    def test_with_one_image_each_categories_of_two_kinds_are_ranked_as_by_chi_square_of_equal_sides(self):
        """All tables of 20 positive and 20 negative: the further from chance by the one, the further by the other."""
        values = np.array(["a"] * 16 + ["b"] * 24)
        found = compare_categories(values, np.arange(40), np.arange(40))
        dealt = np.zeros((17, 40))
        for has in range(17):
            dealt[has, :has] = dealt[has, 16 : 36 - has] = 1
        assert dealt.sum(axis=1).tolist() == [20.0] * 17
        order = np.argsort(found.measure(dealt), kind="stable")
        chi = [chi2_contingency(pd.crosstab(values, row), correction=False).statistic for row in dealt]
        assert np.array(chi)[order] == pytest.approx(np.sort(chi))

    @pytest.mark.parametrize("case", ["missing", "few large", "large and changing"])
    def test_chance_is_no_finding_whatever_goes_with_the_label(self, case):
        """Numbers, categories and years drawn regardless of the label, though the label tells of something else.

        Namely who has a value at all, or how many images a patient has. At the level of 1 in 20, 15 of 300 are
        expected. With labels dealt to all, one vote an image and no division by the variance there were 97 (numbers,
        missing), 275 (years, missing), 67 (categories, few large) and 168 (numbers, large and changing).
        """
        seen = np.zeros(3)
        for seed in range(300):
            rng = np.random.default_rng([7, seed])
            positive, negative, many, few = {
                "missing": (60, 60, 1, 1),
                "few large": (10, 150, 8, 1),
                "large and changing": (12, 60, 1, 20),
            }[case]
            sizes = np.repeat([many, few], [positive, negative])
            patients = np.repeat(np.arange(sizes.size), sizes)
            labels = (patients < positive).astype(np.int64)
            rows = np.flatnonzero(
                (labels == 1) | (rng.random(labels.size) < (0.1 if case == "missing" else 1.1))
            )
            unit = np.arange(labels.size) if case == "large and changing" else patients
            blocks = find_blocks(labels, [f"P{patient}" for patient in patients])
            statistics = [
                compare_numbers(rng.normal(size=labels.size)[unit][rows], rows, blocks),
                compare_categories(rng.integers(3, size=labels.size)[unit][rows].astype(str), rows, blocks),
            ]
            used = pd.DataFrame({"label": labels, "patient_id": [f"P{patient}" for patient in patients]})
            years = np.zeros(labels.size, dtype=np.int64)
            years[rows] = 2010 + rng.integers(6, size=labels.size)[unit][rows]
            overlap = measure_overlap(used, "x", years, seed=seed, draws=99)
            assert overlap is not None
            p_values = permutation_p_values(statistics, labels, blocks, seed=seed, draws=99)
            seen += np.array([*p_values, overlap.p_value]) < 0.05
        assert seen.max() <= 27  # 15 and three standard deviations

    def test_frames_and_copies_are_dealt_together_where_groups_are_given(self):
        """40 files of 25 frames, no patient known: sites drawn file by file look certain frame by frame."""
        files = np.repeat(np.arange(40), 25)
        raised = {"frames": 0, "groups": 0}
        for seed in range(12):
            rng = np.random.default_rng(seed)
            used = pd.concat([make_used()] * 10, ignore_index=True).assign(patient_id="", label=files % 2)
            used["site"] = [f"S{site}" for site in rng.integers(4, size=40)[files]]
            used["acquired"] = [f"{year}-05-01" for year in rng.integers(2000, 2020, 40)[files]]
            properties = pd.DataFrame(index=used.index)
            for name, groups in {"frames": None, "groups": files}.items():
                raised[name] += bool(find_acquisition_problems(used, properties, seed=0, groups=groups))
        assert raised["groups"] == 0
        assert raised["frames"] >= 6

    def test_groups_are_blocks_by_label(self):
        labels = np.array([0, 0, 1, 1, 0])
        assert find_blocks(labels, ["A", "B", "A", "", ""], np.array([7, 7, 7, 3, 3])).tolist() == [
            2,
            2,
            3,
            1,
            0,
        ]
        assert find_blocks(labels, ["A", "A", "A", "", ""]).tolist() == [0, 0, 1, 2, 3]

    def test_testing_stops_early_only_where_chance_does_as_well(self):
        """A statistic of its own that tells how many dealings it was asked for."""
        labels, asked = np.repeat([0, 1], 50), {"clear": 0, "chance": 0}

        def build(name: str, numbers: np.ndarray) -> Statistic:
            inner = compare_numbers(numbers, np.arange(100), np.arange(100))

            def measure(dealt: np.ndarray) -> np.ndarray:
                asked[name] += len(dealt)
                return inner.measure(dealt)

            return Statistic(inner.blocks, measure)

        numbers = np.random.default_rng(5).normal(size=100)
        statistics = [build("clear", numbers + 3 * labels), build("chance", numbers)]
        clear, chance = permutation_p_values(statistics, labels, np.arange(100), seed=0, draws=4000)
        assert asked["clear"] == 1 + 4000
        assert asked["chance"] <= 1 + 800
        assert clear == 1 / 4001
        # The share until it was reached often enough, counted one dealing after the other.
        dealt = np.random.default_rng(0).permuted(np.tile(labels.astype(float), (4000, 1)), axis=1)
        measure = compare_numbers(numbers, np.arange(100), np.arange(100)).measure
        hits = np.flatnonzero(measure(dealt) >= measure(labels.astype(float)[None])[0] - 1e-9)
        assert chance == ENOUGH_REACHED / (hits[ENOUGH_REACHED - 1] + 1)

    def test_patients_are_dealt_and_not_images(self):
        """Ten patients of 30 images each, two devices: by image it looks certain, by patient it is chance."""
        labels = np.repeat([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], 30)
        device = np.repeat(["A", "A", "A", "B", "B", "B", "B", "B", "A", "B"], 30)
        patients = [f"P{row // 30}" for row in range(300)]
        by_patient, by_image = (
            permutation_p_values(
                [compare_categories(device, np.arange(300), blocks)], labels, blocks, seed=0, draws=1000
            )[0]
            for blocks in (find_blocks(labels, patients), find_blocks(labels, [""] * 300))
        )
        assert by_image < 0.01
        assert by_patient > 0.3

    def test_false_alarms_are_as_rare_as_promised(self):
        """Twenty cohorts with eight columns drawn regardless of the label, several images a patient."""
        rng = np.random.default_rng(11)
        alarms = 0
        for _ in range(20):
            patients = np.repeat(np.arange(50), 2)
            columns = {f"c{k}": rng.integers(0, 2 + k, 50)[patients].astype(str).tolist() for k in range(6)}
            columns["acquired"] = [f"{year}-05-01" for year in rng.integers(2010, 2020, 50)[patients]]
            columns["value"] = [f"{value:.3f}" for value in rng.normal(size=50)[patients]]
            used = make_used(patient_id=[f"P{patient}" for patient in patients], **columns)
            alarms += len(find_acquisition_problems(used, make_properties(), seed=0))
        assert alarms <= 1

    def test_the_same_seed_gives_the_same_figures(self):
        used = make_used(site=[f"S{row % 3}" for row in range(100)])
        first, second = (measure_associations(used, make_properties(), seed=4) for _ in range(2))
        assert first == second

    def test_holm_by_hand(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        assert holm([0.9, 0.5]) == pytest.approx([1.0, 1.0])
        assert holm([]) == []

    def test_however_many_properties_are_tested_a_clear_one_is_found(self):
        rng = np.random.default_rng(2)
        noise = {f"n{k}": rng.integers(0, 3, 100).astype(str).tolist() for k in range(60)}
        used = make_used(site=["A"] * SICK + ["B"] * 60, **noise)
        assert only(used).what.startswith("The column 'site'")

    def test_thousands_of_sizes_are_taken_together(self):
        """Every image of its own size, the sick larger: the number of pixels tells it, the size as such cannot."""
        rng = np.random.default_rng(0)
        used = pd.concat([make_used()] * 30, ignore_index=True)
        used["patient_id"] = [f"P{row}" for row in range(3000)]
        used["width"] = 500 + rng.permutation(3000) // 3 + 300 * used["label"]
        started = time.process_time()
        (finding,) = find_acquisition_problems(used, pd.DataFrame(index=used.index), seed=0)
        assert time.process_time() - started < 5
        assert finding.code == "size-tells-label"
        assert finding.what.startswith(("The number of pixels tells", "The ratio of width to height tells"))

    def test_three_hundred_images_and_twenty_columns_take_a_few_seconds(self):
        rng = np.random.default_rng(0)
        used = pd.concat([make_used()] * 3, ignore_index=True)
        used["patient_id"] = [f"P{row}" for row in range(300)]
        for k in range(20):
            used[f"c{k}"] = rng.integers(0, 2 + k, 300).astype(str)
        properties = pd.concat([make_properties()] * 3, ignore_index=True)
        started = time.process_time()
        find_acquisition_problems(used, properties, seed=0)
        assert time.process_time() - started < 5


class TestEffects:
    def test_cramers_v_is_one_where_the_property_is_the_label_and_zero_where_it_is_constant(self):
        labels = np.array([0, 1] * 50)
        assert cramers_v(labels.astype(str), labels) == pytest.approx(1.0)
        assert cramers_v(np.array(["a"] * 100), labels) == 0.0

    def test_cramers_v_by_hand(self):
        """A table of 40, 10 / 20, 30: chi-square 50/3, phi squared 1/6, corrected by 1/99."""
        values = np.array(["a"] * 50 + ["b"] * 50)
        labels = np.array([0] * 40 + [1] * 10 + [0] * 20 + [1] * 30)
        corrected_sides = 2 - 1 / 99
        assert cramers_v(values, labels) == pytest.approx(((1 / 6 - 1 / 99) / (corrected_sides - 1)) ** 0.5)

    def test_images_of_one_patient_that_are_alike_count_once_in_the_correction(self):
        """Twenty patients of 30 images each and five devices, whatever the label: chance gives 4 / 19."""
        rng = np.random.default_rng(0)
        patients, labels = np.repeat(np.arange(20), 30), np.repeat([0, 1], 300)
        squares = []
        for _ in range(300):
            device = rng.integers(5, size=20)[patients].astype(str)
            squares.append([cramers_v(device, labels, blocks) ** 2 for blocks in (None, patients)])
        by_image, by_patient = np.mean(squares, axis=0)
        assert by_image > 0.18
        assert by_patient < 0.1  # above 0 only because V cannot be negative
        assert cramers_v(labels.astype(str), labels, patients) == pytest.approx(1.0)
        own = np.arange(600).astype(str)
        assert cramers_v(own, labels, patients) == pytest.approx(0, abs=1e-6) == cramers_v(own, labels)

    def test_a_value_for_each_image_tells_nothing(self):
        labels = np.array([0, 1] * 50)
        assert cramers_v(np.arange(100).astype(str), labels) == pytest.approx(0)

    def test_cliffs_delta_by_hand(self):
        """Positives 3, 3, 1 against negatives 2, 3: 2 pairs more, 2 less, 2 alike."""
        numbers, labels = np.array([3.0, 3, 1, 2, 3]), np.array([1, 1, 1, 0, 0])
        assert cliffs_delta(numbers, labels) == pytest.approx((2 - 2) / 6)
        assert cliffs_delta(np.array([1.0, 2, 3]), np.array([0, 0, 1])) == 1.0
        assert cliffs_delta(numbers, np.zeros(5, dtype=int)) == 0.0

    @settings(max_examples=50)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=30))
    def test_effects_stay_in_range(self, rows):
        values, labels = (np.array(side) for side in zip(*rows, strict=True))
        assert 0 <= cramers_v(values.astype(str), labels) <= 1
        assert -1 <= cliffs_delta(values.astype(float), labels) <= 1


@pytest.mark.usefixtures("marks_not_sought")
class TestRealFiles:
    def test_properties_of_files_are_read_in_the_order_of_the_rows(self, tmp_path):
        rng = np.random.default_rng(0)
        for side, quality in (("sick", 60), ("healthy", 95)):
            (tmp_path / side).mkdir()
            for number in range(20):
                pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / side / f"{number}.jpg", quality=quality)
        cohort = Cohort.read(tmp_path)
        used = cohort.included
        properties = survey_images(cohort).properties
        assert properties["jpeg_quality"].tolist() == [60 if label else 95 for label in used["label"]]
        assert all(levels > 200 for levels in properties["grey_levels"])
        (finding,) = find_acquisition_problems(used, properties, seed=0)
        assert finding.code == "compression-tells-label"

    @pytest.mark.parametrize("seed", range(3))
    def test_phantoms_raise_no_warning(self, tmp_path, seed):
        write_cohort(tmp_path / "x", PhantomSettings(patients=40, images_per_patient=1, seed=seed))
        cohort = Cohort.read(tmp_path / "x", manifest=tmp_path / "x" / "manifest.csv")
        found = find_acquisition_problems(cohort.included, survey_images(cohort).properties, seed=seed)
        assert [finding.code for finding in found if finding.severity != "info"] == []


@pytest.mark.real
@pytest.mark.usefixtures("marks_not_sought")
class TestReal:
    def test_thermograms(self, shared_dir):
        root = shared_dir / "data/dmr"
        cohort = Cohort.read(root, manifest=root / "manifest.csv", exclude_when="note")
        used = cohort.included
        properties = survey_images(cohort).properties
        found = {each.code: each for each in find_acquisition_problems(used, properties, seed=0)}
        assert set(found) == {"dates-hardly-overlap", "column-tells-label", "grey-levels-tell-label"}
        dates = found["dates-hardly-overlap"]
        assert "only positive images in 2018 to 2020; only negative images in 2012" in dates.what
        assert dates.evidence is not None
        assert dates.evidence.value == pytest.approx(38 / 117)
        assert "'visit'" in found["column-tells-label"].what
        assert found["grey-levels-tell-label"].severity == "info"
        (acquired,) = (
            each
            for each in measure_associations(used, properties, seed=0)
            if each.name == "the column 'acquired'"
        )
        assert acquired.effect == pytest.approx(0.963, abs=0.002)

    def test_ultrasound(self, shared_dir):
        root = shared_dir / "data/busi"
        cohort = Cohort.read(root, manifest=root / "manifest.csv", positive="sick")
        assert find_acquisition_problems(cohort.included, survey_images(cohort).properties, seed=0) == []
