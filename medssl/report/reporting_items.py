"""Items of three reporting guidelines, in our words, and how a study's page answers them.

CLAIM 2024: Tejani et al., Radiol Artif Intell 6(4):e240300. TRIPOD+AI: Collins et al., BMJ
385:e078378 (2024). STARD-AI: Sounderajah et al., Nat Med 31:3283 (2025). Their own texts decide.
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
    """

    number: str
    asks: str
    answer: str
    where: str
    needs: str = ""


AUTHORS = "the authors"

CLAIM = (
    Item("1", "title names AI and its kind", "no", AUTHORS),
    Item("2", "structured abstract", "no", AUTHORS),
    Item("3", "background and intended use", "no", AUTHORS),
    Item("4", "aims and hypotheses", "yes", "Claim", "claim"),
    Item("5", "prospective or retrospective", "no", AUTHORS),
    Item("6", "goal of the study", "partly", "Claim", "claim"),
    Item("7", "sources of the data", "partly", "Patient flow"),
    Item("8", "who was included and excluded", "partly", "Patient flow"),
    Item("9", "preprocessing", "partly", "Plan"),
    Item("10", "selection of parts of the data", "yes", "Plan"),
    Item("11", "de-identification", "no", "the quality report of the store"),
    Item("12", "missing data", "partly", "Patient flow"),
    Item("13", "how images were acquired", "no", AUTHORS),
    Item("14", "definition of the reference standard", "no", AUTHORS),
    Item("15", "why this reference standard", "no", AUTHORS),
    Item("16", "who annotated", "no", AUTHORS),
    Item("17", "how the test set was annotated", "no", AUTHORS),
    Item("18", "variation within and between annotators", "no", AUTHORS),
    Item("19", "how cases were assigned to partitions", "yes", "Plan"),
    Item("20", "level at which partitions are disjoint", "yes", "Leakage"),
    Item("21", "intended size of the test set", "partly", "Plan", "power"),
    Item("22", "the model", "partly", "Plan"),
    Item("23", "software and versions", "yes", "Running it again", "cells"),
    Item("24", "initial weights", "yes", "Plan"),
    Item("25", "training: augmentation, hyperparameters", "partly", "Plan"),
    Item("26", "how the final model was chosen", "yes", "Plan"),
    Item("27", "ensembles", "yes", "Plan: none; every cell is one network"),
    Item("28", "measures of performance", "yes", "Learning curve"),
    Item("29", "significance and uncertainty", "yes", "Effects"),
    Item("30", "robustness", "partly", "Effects: draws and controls"),
    Item("31", "explanation of answers", "no", "the page of a fine-tuning run"),
    Item("32", "evaluation on internal data", "yes", "Learning curve"),
    Item("33", "evaluation on external data", "no", "Limits: one test set"),
    Item("34", "registration of a trial", "no", AUTHORS),
    Item("35", "numbers included and excluded", "yes", "Patient flow"),
    Item("36", "characteristics in each partition", "partly", "Patient flow"),
    Item("37", "performance with its uncertainty, by subgroup", "yes", "Subgroups", "groups"),
    Item("38", "diagnostic estimates with their precision", "yes", "Learning curve"),
    Item("39", "failures", "yes", "Worst cases", "pictures"),
    Item("40", "limitations", "partly", "Limits"),
    Item("41", "what it means for practice", "no", AUTHORS),
    Item("42", "where the full protocol is", "yes", "Evidence: plan.json"),
    Item("43", "availability of software, model, data", "partly", "Evidence"),
    Item("44", "funding", "no", AUTHORS),
)

TRIPOD_AI = (
    Item("1", "title", "no", AUTHORS),
    Item("2", "abstract", "no", AUTHORS),
    Item("3a", "medical context and existing models", "no", AUTHORS),
    Item("3b", "target population and purpose", "no", AUTHORS),
    Item("3c", "known inequalities between groups", "no", AUTHORS),
    Item("4", "objectives", "yes", "Claim", "claim"),
    Item("5a", "sources of data and how representative", "partly", "Patient flow"),
    Item("5b", "dates", "no", AUTHORS),
    Item("6a", "setting, number of centres", "partly", "Patient flow"),
    Item("6b", "eligibility", "partly", "Patient flow"),
    Item("6c", "treatments", "no", AUTHORS),
    Item("7", "preparation of the data", "partly", "Plan"),
    Item("8a", "the outcome and how it was assessed", "no", AUTHORS),
    Item("8b", "who assessed it", "no", AUTHORS),
    Item("8c", "blinding of the assessment", "no", AUTHORS),
    Item("9a", "choice of predictors", "yes", "Plan: the image alone"),
    Item("9b", "definition of the predictors", "partly", "Plan"),
    Item("9c", "who assessed predictors", "yes", "Plan: nobody, voxels are read as they are"),
    Item("10", "how the size was arrived at", "partly", "Plan", "power"),
    Item("11", "missing data", "partly", "Patient flow"),
    Item("12a", "use of data for development and evaluation", "yes", "Patient flow"),
    Item("12b", "handling of predictors", "partly", "Plan"),
    Item("12c", "kind of model, tuning, internal validation", "yes", "Plan"),
    Item("12d", "differences between clusters", "partly", "Subgroups", "groups"),
    Item("12e", "measures of performance, and plots", "yes", "Learning curve, Calibration"),
    Item("12f", "updating of the model", "yes", "Plan: none"),
    Item("12g", "how predictions were computed", "yes", "Evidence: predictions"),
    Item("13", "imbalance of classes", "partly", "Patient flow"),
    Item("14", "fairness: what was done", "yes", "Subgroups", "groups"),
    Item("15", "what the model puts out", "yes", "Plan"),
    Item("16", "training against evaluation data", "yes", "Patient flow"),
    Item("17", "ethical approval", "no", AUTHORS),
    Item("18a", "funding", "no", AUTHORS),
    Item("18b", "conflicts of interest", "no", AUTHORS),
    Item("18c", "protocol", "yes", "Evidence: plan.json"),
    Item("18d", "registration", "no", AUTHORS),
    Item("18e", "sharing of data", "no", AUTHORS),
    Item("18f", "sharing of code", "yes", "Running it again", "cells"),
    Item("19", "involvement of patients and public", "no", AUTHORS),
    Item("20a", "flow of participants, with outcomes", "yes", "Patient flow"),
    Item("20b", "characteristics of participants", "partly", "Patient flow"),
    Item("20c", "development and evaluation compared", "yes", "Patient flow"),
    Item("21", "participants and outcomes of each analysis", "yes", "Learning curve"),
    Item("22", "the model in full", "partly", "Evidence: hashes of weights in the ledger"),
    Item(
        "23a", "performance with intervals, by group", "yes", "Learning curve, Subgroups", "groups"
    ),
    Item("23b", "differences of performance between clusters", "partly", "Subgroups", "groups"),
    Item("24", "results of updating", "yes", "Plan: nothing was updated"),
    Item("25", "interpretation, with fairness", "no", AUTHORS),
    Item("26", "limitations", "partly", "Limits"),
    Item("27a", "poor or missing input in use", "no", AUTHORS),
    Item("27b", "what users must do and know", "no", AUTHORS),
    Item("27c", "next steps", "no", AUTHORS),
)

STARD_AI = (
    Item("1", "title or abstract names an AI accuracy study", "no", AUTHORS),
    Item("2", "structured abstract", "no", AUTHORS),
    Item("3", "background, intended use, workflow", "no", AUTHORS),
    Item("4", "objectives and hypotheses", "yes", "Claim", "claim"),
    Item("5", "prospective or retrospective", "no", AUTHORS),
    Item("6", "ethical approval", "no", AUTHORS),
    Item("7", "eligibility of participants and of data", "partly", "Patient flow"),
    Item("8", "how participants were identified", "no", AUTHORS),
    Item("9", "where and when", "no", AUTHORS),
    Item("10", "consecutive, random or convenience", "no", AUTHORS),
    Item("11", "source of the data", "no", AUTHORS),
    Item("12", "who annotated and how", "no", AUTHORS),
    Item("13", "devices and software", "partly", "Patient flow, Running it again", "cells"),
    Item("14", "acquisition and preprocessing", "partly", "Plan"),
    Item("15a", "the index test", "yes", "Plan"),
    Item("15b", "how it was developed, with numbers", "yes", "Plan, Patient flow"),
    Item("15c", "cut-offs of the index test", "yes", "Plan: none, the metric ranks or overlaps"),
    Item("15d", "who is to use it", "no", AUTHORS),
    Item("16a", "the reference standard", "no", AUTHORS),
    Item("16b", "why this one", "no", AUTHORS),
    Item("16c", "its cut-offs", "no", AUTHORS),
    Item("17a", "blinding of the index test", "yes", "Evidence: one look at the test set a cell"),
    Item("17b", "blinding of the reference standard", "no", AUTHORS),
    Item("18", "how accuracy was estimated and compared", "yes", "Effects"),
    Item("19", "indeterminate results", "yes", "Plan: every test case is answered"),
    Item("20", "missing data", "partly", "Patient flow"),
    Item("21", "variability, planned or exploratory", "yes", "Effects"),
    Item("22", "intended size", "partly", "Plan", "power"),
    Item(
        "23", "errors, bias and fairness: what was done", "yes", "Subgroups, Worst cases", "groups"
    ),
    Item("24", "flow, as a diagram", "yes", "Patient flow"),
    Item("25", "characteristics of each part", "partly", "Patient flow"),
    Item("26a", "severity of those with the condition", "no", AUTHORS),
    Item("26b", "other diagnoses of those without", "no", AUTHORS),
    Item("27", "time between index test and reference", "no", AUTHORS),
    Item("28", "whether the test set represents those meant", "no", AUTHORS),
    Item("29", "how external data differ", "no", "Limits: one test set"),
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
    Item("40a", "availability of data and code", "partly", "Evidence"),
    Item(
        "40b", "whether outputs are kept and can be audited", "yes", "Evidence: predictions, ledger"
    ),
)

GUIDELINES = {
    "CLAIM 2024 (Tejani et al., Radiol Artif Intell 2024;6:e240300)": CLAIM,
    "TRIPOD+AI (Collins et al., BMJ 2024;385:e078378)": TRIPOD_AI,
    "STARD-AI (Sounderajah et al., Nat Med 2025;31:3283)": STARD_AI,
}
