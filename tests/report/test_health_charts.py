"""Curves of a pretraining: which lines are drawn into which panel."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medssl.report.health_charts import health_charts, loss_chart, method_charts


def lines_of(drawn: Figure) -> dict[str, list[str]]:
    """Title, or the axis where there is none, to the labels of the lines."""
    panels: list[Axes] = [axes for axes in drawn.axes if axes.lines]
    return {
        axes.get_title(loc="left") or axes.get_ylabel(): [str(x.get_label()) for x in axes.lines]
        for axes in panels
    }


def test_a_guess_stands_beside_the_loss_that_it_is_a_guess_of() -> None:
    alone = [{"step": 1, "train/loss": 2.0, "train/chance": 2.7, "train/lr": 1.0}]
    assert lines_of(loss_chart(alone)) == {"loss": ["training loss", "a guess"]}
    assert lines_of(method_charts(alone)) == {"Learning rate": ["lr"]}

    term = [{"step": 1, "train/loss": 9.0, "train/contrast": 2.0, "train/chance": 2.7}]
    assert lines_of(loss_chart(term)) == {"loss": ["training loss"]}
    assert lines_of(method_charts(term)) == {"Contrast, unweighted": ["contrast", "a guess"]}

    tasks = [{"step": 1, "train/loss": 9.0, "train/moco/loss": 2.0, "train/moco/chance": 2.7}]
    assert lines_of(loss_chart(tasks)) == {"loss": ["training loss"]}
    assert lines_of(method_charts(tasks)) == {"moco/loss": ["moco/loss", "a guess"]}


def test_an_alarm_marks_every_panel_of_health() -> None:
    names = ("rank", "deviation", "alignment", "uniformity", "knn_modality", "majority_modality")
    looks = [{"step": n, **{f"health/{name}": 0.5 for name in names}} for n in (0, 10, 20)]
    calm, marked = (lines_of(health_charts(looks, step)) for step in (None, 20))
    assert calm["Effective rank"] == ["rank"]
    assert calm["Nearest neighbours tell the modality"] == ["5 nearest", "always the commonest"]
    assert [len(marked[title]) for title in calm] == [len(calm[title]) + 1 for title in calm]
