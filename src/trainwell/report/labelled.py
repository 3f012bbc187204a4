"""How good labels are of which any number may be true at once: totals, each label, and how sure the network is."""

from trainwell.core.stats import Interval
from trainwell.metrics import LabelMetrics, measure_labels
from trainwell.pictures.errors import label_probabilities
from trainwell.report.embed import Chart, chart
from trainwell.report.evidence import Answers, Evidence
from trainwell.report.headline import reported
from trainwell.report.numbers import percent, span
from trainwell.report.quality import SORTED_FROM, Quality, class_rows, lead_of, strip_from


def quality_of_labels(evidence: Evidence) -> Quality | None:
    """Return how good the labels are; None where there are no answers."""
    answers = reported(evidence)
    if answers is None or len(evidence.classes) != answers.values.shape[1]:
        return None
    metrics = measure_labels(answers.values, answers.targets, evidence.classes)
    is_sorted, begin = len(metrics.per_label) > SORTED_FROM, strip_from(metrics.per_label)
    return Quality(
        lead=lead_of(evidence, answers, metrics.count),
        totals=tuple(_totals(metrics)),
        rows=tuple(class_rows(metrics.per_label, begin, is_sorted=is_sorted)),
        order="The labels with the lowest F1 stand first." if is_sorted else "",
        strip_from=begin,
        charts=(_sureness(metrics, answers),),
        mistakes=(),
        notes=metrics.notes,
        noun="label",
    )


def _totals(metrics: LabelMetrics) -> list[tuple[str, str, str, str]]:
    def of_share(name: str, interval: Interval, words: str) -> tuple[str, str, str, str]:
        if not interval.is_defined:
            return name, "undefined", "", words
        return name, percent(interval.value), span(interval), words

    def of_number(name: str, interval: Interval, words: str) -> tuple[str, str, str, str]:
        if not interval.is_defined:
            return name, "undefined", "", words
        return name, f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}", words

    return [
        of_share("Exact match", metrics.exact_match, "share of samples with every label right"),
        of_share("Micro F1", metrics.micro_f1, "F1 over all labels together: frequent labels weigh more"),
        of_share("Macro F1", metrics.macro_f1, "mean over labels of F1: each label counts alike"),
        of_share("Hamming loss", metrics.hamming_loss, "share of all labels of all samples that are wrong"),
        of_number("ROC-AUC", metrics.roc_auc, "how often a true label scores above one that is not; 0.5 is guessing"),
        of_number("Log loss", metrics.log_loss, "nats; mean surprise at the truth of a label, 0 is best"),
    ]


def _sureness(metrics: LabelMetrics, answers: Answers) -> Chart:
    sure = ((answers.values > 0.9) | (answers.values < 0.1)).mean()
    return chart(
        "label-probabilities",
        "How sure it is",
        label_probabilities(answers.values, answers.targets, split=answers.split),
        caption="True labels should lie right of the dotted line, where a label counts as true, the others left of it;"
        f" what lies near it could go either way. {percent(float(sure))} of all answers are surer than 90\u00a0%.",
        alt=f"Probabilities of true and untrue labels on {answers.split}; {percent(float(sure))} are surer than 90 %.",
    )
