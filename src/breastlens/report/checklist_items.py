"""The items of three reporting checklists as numbers and topics, and which of a run's facts answers each.

Topics are in our own few words; the published checklists say what to report. Numbers stand only where they were
confirmed; those of STARD-AI were not, so its topics have none.
"""

from __future__ import annotations

from typing import NamedTuple

TRIPOD = "TRIPOD+AI"
CLAIM = "CLAIM 2024"
STARD = "STARD-AI"

SOURCES = {
    TRIPOD: "Collins et al., BMJ 2024;385:e078378",
    CLAIM: "Tejani et al., Radiology: Artificial Intelligence 2024;6:e240300",
    STARD: "Sounderajah et al., Nature Medicine 2025;31:3283-3289. Its topics stand here without numbers.",
}


class Item(NamedTuple):
    """One item of a checklist.

    Attributes:
        guideline: Which checklist.
        number: As published, "" where that was not confirmed.
        topic: What it is about, in a few words.
        facts: Names of what a run knows about it (`breastlens.report.checklist_facts`); none: for the authors.
        whole: Whether these facts answer it; else the authors complete it.
    """

    guideline: str
    number: str
    topic: str
    facts: tuple[str, ...] = ()
    whole: bool = False


def _items(guideline: str, lines: str) -> tuple[Item, ...]:
    """Items from lines ``number | topic | facts``; a + after the facts says that they are the whole answer."""
    found = []
    for line in lines.strip().splitlines():
        number, topic, facts = (each.strip() for each in line.split("|"))
        found.append(Item(guideline, number, topic, tuple(facts.rstrip("+").split()), facts.endswith("+")))
    return tuple(found)


ITEMS = (
    *_items(
        TRIPOD,
        """
        1 | Title |
        2 | Abstract |
        3a | Clinical context and existing models |
        3b | Who it is for, and where in care | use
        3c | Known health inequalities |
        4 | Objectives |
        5a | Where the data come from | source
        5b | When they were collected | dates
        6a | Setting and centres |
        6b | Who was eligible | excluded
        6c | Treatments |
        7 | Preparing and checking the data | preprocessing audit
        8a | What the outcome is | labels
        8b | Who assessed the outcome |
        8c | Blinding of that assessment |
        9a | Choice of predictors | input
        9b | Definition of predictors | input preprocessing
        9c | Predictors that need a judgement |
        10 | Sample size | size
        11 | Missing data | missing
        12a | How the data were divided | partition +
        12b | How predictors were handled | preprocessing +
        12c | Kind of model, steps, tuning, internal validation | training selection +
        12d | Differences between clusters | subgroups
        12e | Measures and plots of performance | measures +
        12f | Updating of the model |
        12g | How predictions were made | predictions +
        13 | Class imbalance | balance
        14 | Fairness | subgroups
        15 | Output and threshold | threshold +
        16 | Training against evaluation data | comparison
        17 | Ethics and consent |
        18a | Funding |
        18b | Conflicts of interest |
        18c | Protocol |
        18d | Registration |
        18e | Sharing of data | fingerprint
        18f | Sharing of code | code
        19 | Involvement of patients and the public |
        20a | Flow of participants | flow +
        20b | Characteristics of participants | cohort
        20c | Development against evaluation | comparison
        21 | Participants and events in each analysis | counts +
        22 | The full model | model bundle
        23a | Performance with intervals, also in subgroups | performance subgroups +
        23b | Heterogeneity between clusters | subgroups
        24 | Results of updating |
        25 | Interpretation |
        26 | Limits | doubts
        27a | Poor or missing input in use |
        27b | What users must do and know |
        27c | Next steps |
        """,
    ),
    *_items(
        CLAIM,
        """
        1 | Title names the AI method |
        2 | Abstract |
        3 | Background and intended use | use
        4 | Aims and hypotheses |
        5 | Prospective or retrospective |
        6 | Goal of the study |
        7 | Sources of data | source
        8 | Inclusion and exclusion | excluded
        9 | Preprocessing | preprocessing +
        10 | Selected subsets | excluded
        11 | De-identification |
        12 | Missing data | missing
        13 | How images were acquired | formats
        14 | Reference standard | labels
        15 | Why that standard |
        16 | Who annotated |
        17 | Annotation of the test set |
        18 | Agreement between and within raters |
        19 | How parts were assigned | partition +
        20 | At which level parts are disjoint | disjoint +
        21 | Sample size | size
        22 | The model in detail | model input +
        23 | Software | software +
        24 | How parameters began | weights +
        25 | Training | training +
        26 | How the final model was selected | selection +
        27 | Ensembles | ensemble
        28 | Measures of performance | measures +
        29 | Significance and uncertainty | uncertainty +
        30 | Robustness | controls subgroups
        31 | Explanation | explanation
        32 | Evaluation on internal data | internal
        33 | Testing on external data | external
        34 | Trial registration |
        35 | Patients included and excluded | flow +
        36 | Characteristics in each part | cohort
        37 | Performance with its uncertainty | performance +
        38 | Diagnostic performance and precision | performance crosstable +
        39 | What went wrong | failures
        40 | Limits | doubts
        41 | Meaning for practice |
        42 | Protocol and technical details | command
        43 | Availability of software, model, data | code bundle
        44 | Funding |
        """,
    ),
    *_items(
        STARD,
        """
        | Title and abstract |
        | Background, intended use and workflow | use
        | Objectives |
        | Study design |
        | Ethics approval |
        | Eligibility of participants and of data | excluded
        | How, where and when participants were found | dates
        | Source of the data | source
        | Annotation of the data |
        | Devices and acquisition | formats
        | Preprocessing | preprocessing +
        | The index test in detail | model input +
        | Development of the index test: parts and training | partition training +
        | Cut-off of the index test | threshold +
        | Who uses the index test |
        | Reference standard, rationale, cut-off | labels
        | Blinding |
        | Statistical methods | measures uncertainty +
        | Indeterminate results |
        | Missing data | missing
        | Variability | subgroups controls
        | Sample size | size
        | Fairness | subgroups
        | Flow diagram | flow +
        | Characteristics by part | cohort
        | Severity and alternative diagnoses | categories
        | Time between index test and reference |
        | How far the test set represents the target | comparison
        | External evaluation | external
        | Cross table of index test and reference | crosstable +
        | Accuracy with intervals | performance +
        | Adverse events |
        | Limits | doubts
        | Meaning for practice, fairness |
        | Registration, protocol, funding, interests |
        | Availability of data and code | code fingerprint
        | Auditing of outputs | predictions
        """,
    ),
)
