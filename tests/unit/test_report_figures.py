"""Figures: one look per model in all of them, and the page's own colours."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from securetune.measures.kinds import BENIGN, HARMFUL, SKILL
from securetune.measures.pareto import Tradeoff
from securetune.report.figures import heatmap, pareto, series, svg, themed
from securetune.report.reading import Run
from securetune.report.sections import folders
from tests.results import answered, evaluation, model

figures = importlib.import_module("securetune.report.sections.40_figures")
answers = importlib.import_module("securetune.report.sections.45_answers")


def logged(arm, log):
    whole = model(arm, 0.1)
    if whole.training is not None:
        whole.training.result.log.extend(log)
    return whole


def lines(figure):
    return {line.get_label(): line.get_color() for line in figure.axes[0].get_lines()}


def test_a_model_has_one_colour_in_every_figure_whoever_else_stands_in_it():
    log = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    models = [logged("base", []), logged("none", []), logged("ml_lr", log), logged("swat", log)]
    radar, curves = lines(figures.radar(models)), lines(figures.by_step(models, "loss", "loss"))
    assert set(curves) == {"ml_lr", "swat"} and len(set(radar.values())) == 4
    assert all(radar[name] == colour for name, colour in curves.items())
    points = pareto([Tradeoff(title=one.title, skill=0.1 * i, asr=0.1 * i) for i, one in enumerate(models)])
    dots = [to_hex(dot.get_facecolor()[0]) for dot in points.axes[0].collections]
    assert dots == list(radar.values())
    given = [model("base", 0.1), *(replace(model(arm, 0.1), training=None) for arm in ("a", "b"))]
    course = figures.course(given).axes[0]
    marks = [
        [to_hex(color) for color in dots.get_facecolors()]
        for dots in course.collections
        if len(dots.get_facecolors()) == 3
    ]
    assert marks == [list(radar.values())[:3]] * 3
    assert not {to_hex(line.get_color()) for line in course.get_lines()} & set(radar.values()), "a line is no model"


def test_many_models_can_be_told_apart():
    looks = [(look.color, look.linestyle) for look in series([str(i) for i in range(40)]).values()]
    assert len(set(looks)) == 40


def test_a_themed_figure_has_no_ground_and_the_page_s_ink_and_leaves_the_figure_as_it_was():
    figure = Figure()
    figure.subplots().set(xlabel="step")
    plain = svg(figure)
    text = themed(figure, "one")
    assert "currentColor" in text and "#ffffff" not in text and '<text fill="currentColor"' in text
    assert svg(figure) == plain and "#ffffff" in plain
    ids, other = (set(re.findall(r' id="([^"]+)', themed(figure, name))) for name in ("one", "two"))
    assert ids and not ids & other and set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= ids


def test_a_themed_figure_leaves_the_arms_colours_to_the_page():
    models = [logged(arm, [{"step": 1, "loss": 1.0}]) for arm in ("base", "none", "ml_lr")]
    text = themed(figures.radar(models), "radar")
    assert all(f"stroke: var(--arm-{place})" in text for place in range(3))
    style = (Path(folders()[0]) / "base" / "style.css").read_text(encoding="utf-8")
    assert all(len(re.findall(f"--arm-{place}: #", style)) == 2 for place in range(10)), "for light and for dark"


def test_a_map_lets_the_page_through_where_nothing_changes():
    text = themed(heatmap({"0.q": 0.0, "0.k": 0.5, "1.q": -0.5, "1.k": 0.1}, ["0.q"], "margin"), "map")
    assert not re.search(r"(fill|stroke): (#fff|#f7f7f7|white|black|#000)", text)


@pytest.mark.parametrize(("harmful", "benign"), [(60, 60), (3, 60)])
def test_a_sample_of_every_kind_is_shown_with_its_size(harmful, benign):
    sets = [
        answered(HARMFUL, 0, harmful, "h0"), answered(HARMFUL, 0, harmful, "h1"),
        answered(BENIGN, 0, benign), answered(SKILL, 2, 4),
    ]  # fmt: skip
    models = []
    for arm in ("base", "none"):
        whole = model(arm, 0.0)
        vars(whole)["answers"] = sets
        vars(whole)["evaluation"] = evaluation(sets)
        models.append(whole)
    examples = answers.data(Run(folder=None, models=tuple(models)))
    told = {sample.kind.name: (sample.shown, sample.asked) for sample in examples.samples}
    assert told == {"harmful": (min(12, 2 * harmful), 2 * harmful), "benign": (12, benign), "skill": (4, 4)}
    assert len(examples.shown) == sum(shown for shown, _ in told.values())
    assert {example.benchmark for example in examples.shown} == {"h0", "h1", "benign", "skill"}


def test_long_answers_of_many_models_are_cut_and_the_page_says_so():
    def section(letters, arms):
        sets = [answered(HARMFUL, 6, 12), answered(BENIGN, 6, 12)]
        for one in sets:
            one.answers[:] = [replace(answer, text="w" * letters) for answer in one.answers]
        models = []
        for arm in ("base", "none", *(f"ml_lr@0.{i}" for i in range(1, arms))):
            whole = model(arm, 0.0)
            vars(whole)["answers"] = sets
            vars(whole)["evaluation"] = evaluation(sets)
            models.append(whole)
        data = answers.data(Run(folder=None, models=tuple(models)))
        environment = Environment(loader=FileSystemLoader(folders()), autoescape=True)
        return environment.get_template("45_answers.html").render(data=data, figures={})

    text = section(20_000, 20)
    assert text.count("w" * 1000) and len(text) < 2_000_000, "24 prompts of 21 models are 10 million characters"
    assert "Of a longer answer its first 2,976 characters are shown" in text and "… [17024 more characters]" in text
    whole = section(20_000, 1)
    assert "longer answer" not in whole and "more characters" not in whole and "w" * 20_000 in whole
