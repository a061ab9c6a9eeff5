"""Items of three reporting guidelines, in our words, and how a study's page answers them.

CLAIM 2024 was read in its publisher's repository, RSNA/CLAIM: the 44 headings of docs/checklist.md
at 0277cdd and, at 06dc57d, the full text of items 6, 10, 12, 17, 19 to 21, 23 to 30, 32 to 39 and
42. The articles of TRIPOD+AI and STARD-AI could not be read; their items were compared with
transcriptions that agree with each other: supports-audit.md of cekahn/ROADMAP at a41ab8e (which
lacks TRIPOD+AI 5b and 20a, STARD-AI 24 and 38), and TRIPOD_AI.md at 0353da9 and STARD_AI.md at
09f0ba6 of Aperivue/medsci-skills. The guidelines' own texts decide.
"""

from __future__ import annotations

from typing import NamedTuple


class Item(NamedTuple):
    """An item of a guideline.

    Attributes:
        number, asks: as the guideline counts, and what it wants to know.
        answer: yes, partly, or no.
        where: the section of the page, or who has to say it instead.
        needs: what the study must have for the answer to hold, a key of
            `medssl.report.study_checklists.HAVE`; empty: nothing.
        without: the answer of a study that lacks it.
    """

    number: str
    asks: str
    answer: str
    where: str
    needs: str = ""
    without: str = "no"


class Guideline(NamedTuple):
    """A reporting guideline.

    Attributes:
        name, reference: what it is called, and where it was published.
        checked: what numbers and questions of its items were compared with, and what was not read.
        items: all of them, in its order.
    """

    name: str
    reference: str
    checked: str
    items: tuple[Item, ...]


AUTHORS = "the authors"

CLAIM = (
    Item("1", "title names AI and its kind", "no", AUTHORS),
    Item("2", "abstract: design, methods, results, conclusions", "no", AUTHORS),
    Item("3", "background, intended use and role", "no", AUTHORS),
    Item("4", "aims and hypotheses", "yes", "Claim", "claim"),
    Item("5", "prospective or retrospective", "no", AUTHORS),
    Item("6", "design and goal of the study", "partly", "Claim", "claim"),
    Item("7", "sources of the data", "partly", "Patient flow"),
    Item("8", "who was included and excluded", "partly", "Patient flow"),
    Item("9", "preprocessing", "partly", "Evidence: plan.json"),
    Item(
        "10",
        "parts taken out of the images beforehand, how and by whom",
        "partly",
        "Evidence: plan.json",
    ),
    Item("11", "de-identification", "no", "the quality report of the store"),
    Item("12", "how missing data were handled", "partly", "Patient flow"),
    Item("13", "how images were acquired", "no", AUTHORS),
    Item("14", "how the reference standard was obtained", "no", AUTHORS),
    Item("15", "why this reference standard", "no", AUTHORS),
    Item("16", "source of the annotations", "no", AUTHORS),
    Item("17", "how the test set was annotated", "no", AUTHORS),
    Item("18", "variation within and between annotators", "no", AUTHORS),
    Item("19", "how cases were assigned to partitions, and why so", "partly", "Plan, Patient flow"),
    Item("20", "level at which partitions are disjoint", "yes", "Leakage"),
    Item(
        "21",
        "size of the test set, and how it was arrived at",
        "partly",
        "Plan, Patient flow",
        "power",
        "partly",
    ),
    Item("22", "the model", "partly", "Plan, Evidence: plan.json"),
    Item("23", "every library, with its version", "partly", "Running it again", "cells"),
    Item("24", "initial weights, and how random ones were drawn", "partly", "Plan"),
    Item("25", "training: augmentation, hyperparameters", "partly", "Plan, Evidence: plan.json"),
    Item("26", "how the final model was chosen", "yes", "Plan"),
    Item("27", "ensembles", "yes", "Plan: none; every cell is one network"),
    Item(
        "28", "measures of performance, why these, and published models", "partly", "Learning curve"
    ),
    Item("29", "significance and uncertainty", "yes", "Effects"),
    Item("30", "robustness or sensitivity", "partly", "Effects: draws and controls"),
    Item("31", "explanation of answers", "no", "the page of a fine-tuning run"),
    Item(
        "32",
        "evaluation on internal data, against that on training data",
        "partly",
        "Learning curve",
    ),
    Item("33", "evaluation on external data", "no", "Limits: one test set"),
    Item("34", "registration of a trial", "no", AUTHORS),
    Item("35", "numbers included and excluded", "yes", "Patient flow"),
    Item("36", "characteristics in each partition and data set", "partly", "Patient flow"),
    Item(
        "37",
        "performance on every partition and by subgroup",
        "partly",
        "Learning curve, Subgroups: the test set alone",
    ),
    Item(
        "38",
        "diagnostic estimates with their precision",
        "yes",
        "Learning curve, Calibration, Subgroups",
    ),
    Item(
        "39",
        "failures: examples, confusion matrix, what they mean",
        "partly",
        "Worst cases",
        "pictures",
        "partly",
    ),
    Item("40", "limitations", "partly", "Limits"),
    Item("41", "what it means for practice, intended use", "no", AUTHORS),
    Item("42", "where the full protocol or more detail is", "yes", "Evidence: plan.json"),
    Item("43", "availability of software, model, data", "partly", "Evidence"),
    Item("44", "funding", "no", AUTHORS),
)

TRIPOD_AI = (
    Item("1", "title: model study, population, outcome", "no", AUTHORS),
    Item("2", "abstract, by a list of its own", "no", AUTHORS),
    Item("3a", "medical context and existing models", "no", AUTHORS),
    Item("3b", "target population, purpose and users", "no", AUTHORS),
    Item("3c", "known inequalities of health between groups", "no", AUTHORS),
    Item("4", "objectives", "yes", "Claim", "claim"),
    Item("5a", "sources of data and how representative", "partly", "Patient flow"),
    Item("5b", "dates", "no", AUTHORS),
    Item("6a", "setting, number of centres", "partly", "Patient flow"),
    Item("6b", "eligibility", "partly", "Patient flow"),
    Item("6c", "treatments, and how they were dealt with", "no", AUTHORS),
    Item(
        "7",
        "preparation of the data and checks of its quality",
        "partly",
        "Evidence: plan.json, and the quality report of the store",
    ),
    Item("8a", "the outcome, its time horizon, how and why it was assessed", "no", AUTHORS),
    Item("8b", "who assessed it, where that takes judgement", "no", AUTHORS),
    Item("8c", "blinding of the assessment", "no", AUTHORS),
    Item("9a", "choice of predictors before the model was built", "yes", "Plan: the image alone"),
    Item("9b", "definition of the predictors, how and when measured", "partly", "Plan"),
    Item(
        "9c",
        "who assessed predictors, where that takes judgement",
        "yes",
        "Plan: nobody, voxels are read as they are",
    ),
    Item("10", "how the size was arrived at, and that it suffices", "partly", "Plan", "power"),
    Item("11", "missing data", "partly", "Patient flow"),
    Item("12a", "use of data for development and evaluation", "yes", "Patient flow"),
    Item("12b", "handling of predictors", "partly", "Evidence: plan.json"),
    Item(
        "12c",
        "kind of model and why, building, tuning, internal validation",
        "partly",
        "Plan, Evidence: plan.json",
    ),
    Item("12d", "how differences between clusters were handled", "partly", "Subgroups", "groups"),
    Item(
        "12e",
        "measures and plots of performance, and why these",
        "partly",
        "Learning curve, Calibration",
    ),
    Item("12f", "updating of the model", "yes", "Plan: none"),
    Item("12g", "how predictions were computed", "yes", "Running it again, Evidence: predictions"),
    Item("13", "methods against imbalance of classes", "partly", "Evidence: plan.json"),
    Item(
        "14",
        "what was done for fairness, and why",
        "partly",
        "Subgroups: measured, not corrected",
        "groups",
    ),
    Item("15", "what the model puts out, and thresholds", "yes", "Plan"),
    Item("16", "how development and evaluation data differ", "yes", "Patient flow"),
    Item("17", "ethical approval and consent", "no", AUTHORS),
    Item("18a", "funding", "no", AUTHORS),
    Item("18b", "conflicts of interest", "no", AUTHORS),
    Item("18c", "protocol", "yes", "Evidence: plan.json"),
    Item("18d", "registration", "no", AUTHORS),
    Item("18e", "sharing of data", "no", AUTHORS),
    Item("18f", "sharing of code", "yes", "Running it again", "cells"),
    Item("19", "involvement of patients and public", "no", AUTHORS),
    Item("20a", "flow of participants, with and without the outcome", "yes", "Patient flow"),
    Item("20b", "characteristics of participants", "partly", "Patient flow"),
    Item(
        "20c", "predictors and outcome: evaluation against development data", "yes", "Patient flow"
    ),
    Item(
        "21", "participants and outcomes of each analysis", "partly", "Learning curve, Patient flow"
    ),
    Item(
        "22",
        "the model in full, for use by others",
        "partly",
        "Evidence: hashes of weights in the ledger",
    ),
    Item(
        "23a",
        "performance with intervals, by group",
        "yes",
        "Learning curve, Subgroups",
        "groups",
        "partly",
    ),
    Item("23b", "differences of performance between clusters", "partly", "Subgroups", "groups"),
    Item("24", "results of updating", "yes", "Plan: nothing was updated"),
    Item("25", "interpretation, with fairness", "no", AUTHORS),
    Item("26", "limitations", "partly", "Limits"),
    Item("27a", "poor or missing input in use", "no", AUTHORS),
    Item("27b", "what users must do, and with what expertise", "no", AUTHORS),
    Item("27c", "next steps of research", "no", AUTHORS),
)

STARD_AI = (
    Item("1", "title or abstract names an AI accuracy study and a measure", "no", AUTHORS),
    Item("2", "structured abstract", "no", AUTHORS),
    Item("3", "background, intended use, workflow", "no", AUTHORS),
    Item("4", "objectives and hypotheses", "yes", "Claim", "claim"),
    Item("5", "prospective or retrospective", "no", AUTHORS),
    Item("6", "ethical approval", "no", AUTHORS),
    Item("7", "eligibility of participants and of data, in order", "partly", "Patient flow"),
    Item("8", "how participants were identified", "no", AUTHORS),
    Item("9", "where and when", "no", AUTHORS),
    Item("10", "consecutive, random or convenience", "no", AUTHORS),
    Item("11", "source of the data: routine, for the study, or open", "no", AUTHORS),
    Item("12", "who annotated and how", "no", AUTHORS),
    Item(
        "13", "devices and software", "partly", "Patient flow, Running it again", "cells", "partly"
    ),
    Item("14", "acquisition and preprocessing", "partly", "Evidence: plan.json"),
    Item("15a", "the index test", "yes", "Plan, Running it again"),
    Item("15b", "how it was developed, with numbers", "yes", "Plan, Patient flow"),
    Item("15c", "cut-offs of the index test", "yes", "Plan: none, the metric ranks or overlaps"),
    Item("15d", "who is to use it, and with what expertise", "no", AUTHORS),
    Item("16a", "the reference standard", "no", AUTHORS),
    Item("16b", "why this one", "no", AUTHORS),
    Item("16c", "its cut-offs", "no", AUTHORS),
    Item(
        "17a",
        "what its readers knew of patient and reference standard",
        "yes",
        "Plan: the image alone",
    ),
    Item("17b", "what assessors of the reference knew of the index test", "no", AUTHORS),
    Item("18", "how accuracy was estimated and compared", "yes", "Learning curve, Effects"),
    Item(
        "19",
        "indeterminate results of index test or reference",
        "partly",
        "Plan: every test case is answered",
    ),
    Item("20", "missing data", "partly", "Patient flow"),
    Item("21", "analyses of variability, planned or exploratory", "yes", "Effects, Subgroups"),
    Item("22", "intended size, and how it was arrived at", "partly", "Plan", "power"),
    Item(
        "23",
        "errors, bias and fairness: what was done",
        "yes",
        "Subgroups, Worst cases",
        "groups",
        "partly",
    ),
    Item("24", "flow, as a diagram", "yes", "Patient flow"),
    Item("25", "characteristics of each part", "partly", "Patient flow"),
    Item("26a", "severity of those with the condition", "no", AUTHORS),
    Item("26b", "other diagnoses of those without", "no", AUTHORS),
    Item("27", "time and treatment between index test and reference", "no", AUTHORS),
    Item("28", "distribution of the condition, against that in intended use", "no", AUTHORS),
    Item("29", "how external data differ from the rest", "no", "Limits: one test set"),
    Item("30", "results against the reference, tabulated", "partly", "Evidence: predictions"),
    Item("31", "accuracy with its precision", "yes", "Learning curve"),
    Item("32", "harm by either test", "no", AUTHORS),
    Item("33", "limitations", "partly", "Limits"),
    Item("34", "what it means for practice", "no", AUTHORS),
    Item("35", "ethics and fairness of its use", "no", AUTHORS),
    Item("36", "registration", "no", AUTHORS),
    Item("37", "where the protocol is", "yes", "Evidence: plan.json"),
    Item("38", "funding", "no", AUTHORS),
    Item("39", "commercial interests", "no", AUTHORS),
    Item("40a", "availability of data and code, restrictions", "partly", "Evidence"),
    Item(
        "40b", "whether outputs are kept and can be audited", "yes", "Evidence: predictions, ledger"
    ),
)

GUIDELINES = (
    Guideline(
        "CLAIM 2024",
        "Tejani et al., Radiol Artif Intell 2024;6(4):e240300",
        "the list in the publisher's repository, github.com/RSNA/CLAIM",
        CLAIM,
    ),
    Guideline(
        "TRIPOD+AI",
        "Collins et al., BMJ 2024;385:e078378",
        "transcriptions in github.com/cekahn/ROADMAP and github.com/Aperivue/medsci-skills; "
        "not the article itself",
        TRIPOD_AI,
    ),
    Guideline(
        "STARD-AI",
        "Sounderajah et al., Nat Med 2025;31:3283-3289",
        "transcriptions in github.com/cekahn/ROADMAP and github.com/Aperivue/medsci-skills; "
        "not the article itself",
        STARD_AI,
    ),
)
