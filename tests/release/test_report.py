"""The report: true, self-contained, escaped, readable."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from synthkit.privacy.budget import Budget, Unit
from synthkit.release import bundle, charts, report
from synthkit.release.charts import MarginalFigure
from tests.release.test_bundle import facts, figures

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A page as a list of tags with attributes, and its visible text; nesting is checked."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script", "title"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def manifest(**changes: Any) -> dict[str, Any]:
    made = bundle.manifest_of(facts(**changes))
    made["files"] = {"data.csv": {"sha256": "0" * 64, "bytes": 146_600}}
    return made


def page(*, drawn: list[MarginalFigure] | None = None, **changes: Any) -> Page:
    return Page(report.render(manifest(**changes), figures() if drawn is None else drawn))


# Self-contained ---------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_anybody() -> None:
    source = report.render(manifest(), figures())
    made = Page(source)
    for tag, attributes in made.tags:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base", "form", "use", "image", "audio", "video")
        assert not {name for name in attributes if name.startswith("on")} | attributes.keys() & {"src", "style"}
        assert attributes.get("href", "#").startswith("#")
    assert [script["type"] for script in made.all("script")] == ["application/json"]
    style = source.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style and "http" not in style
    policy = next(meta["content"] for meta in made.all("meta") if "http-equiv" in meta)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")


def test_every_link_has_a_target_and_every_id_is_its_own() -> None:
    made = page()
    ids = [attributes["id"] for _, attributes in made.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {link["href"][1:] for link in made.all("a")} <= set(ids)


def test_text_from_outside_is_escaped_everywhere() -> None:
    evil = "</script><script>alert(1)</script>\"'><b onmouseover=x>&amp;{{ 7 * 7 }}"
    figure = MarginalFigure("workclass" + evil, (evil, "b"), (5.0, 6.0), 1.0, (5.0, 6.0))
    bins = MarginalFigure(evil, (evil, "b"), (5.0, 6.0), 1.0, (5.0, 6.0), ordered=True)
    made = manifest(dataset=evil, method=evil, settings={evil: evil}, not_covered=(evil,), randomness=evil)
    made["evidence"] = [{**figure_, "how": evil, "name": "a." + evil} for figure_ in made["evidence"]]
    made["parts"][0]["charges"][0].update(what=evil, mechanism=evil, source=evil)
    made["parts"][0]["name"] = made["schema"]["name"] = evil
    made["files"]["model/" + evil] = {"sha256": "0" * 64, "bytes": 1}
    source = report.render(made, [figure, bins])
    parsed = Page(source)
    assert len(parsed.all("script")) == 1 and parsed.all("b") == [{}] * len(parsed.all("b"))
    assert parsed.text.count("alert(1)") >= 10 and "49" not in re.findall(r"\{\{.*?\}\}", parsed.text)
    stated = json.loads(source.partition(f'id="{report.EMBEDDED}">')[2].partition("</script>")[0])
    assert stated == report.embedded(made) and stated["dataset"] == evil


def test_the_embedded_facts_follow_the_manifest_alone() -> None:
    first = manifest()
    assert report.embedded(first) == report.embedded({**first, "manifest_sha256": "x"})
    known = {**first, "files": {**first["files"], "report.html": {"sha256": "1" * 64, "bytes": 1}}}
    assert report.embedded(first) == report.embedded(known)
    assert report.render(first, figures()) == report.render(known, figures())
    for name in set(first) - {"files"}:
        assert report.embedded(first) != report.embedded({**first, name: first[name], "not_covered": [name]})


# What it says -----------------------------------------------------------------------------------


def test_the_verdict_is_the_manifests() -> None:
    made, source = page(), manifest()
    shown = math.ceil(source["guarantee"]["epsilon"] * 1000) / 1000
    assert f"{shown:.3f}" in made.text and "10⁻⁶" in made.text and "one in 1,000,000" in made.text
    assert "Differentially private" in made.text and "NON-PRIVATE" not in made.text
    assert source["guarantee"]["statement"] in made.text
    assert "Nobody has vouched" not in made.text


def test_a_large_epsilon_is_called_weak() -> None:
    made = manifest()
    made["guarantee"].update(epsilon=7.0)
    text = Page(report.render(made, [])).text
    assert "with a weak bound" in text and "the bound alone says little" in text
    assert "weak" not in page().text


def test_without_privacy_nothing_is_promised() -> None:
    made = page(seeded=True, randomness="FIXED SEED: NON-PRIVATE")
    assert "NON-PRIVATE: do not release" in made.text and "Differentially private" not in made.text
    assert "best possible attacker" not in made.text and "∞" in made.text
    assert any(tag.get("role") == "alert" for tag in made.all("div"))


@pytest.mark.parametrize("adjacency", ["add-or-remove", "replace-one"])
@pytest.mark.parametrize("unit", [Unit(), Unit("patient", 3), Unit("patient", 1)])
def test_every_kind_of_neighbour_is_put_into_words(adjacency: Any, unit: Unit) -> None:
    made = manifest()
    made["budget"] = Budget(1.0, 1e-6, adjacency, unit).to_dict()
    made["guarantee"].update(adjacency=adjacency, unit=str(unit))
    text = Page(report.render(made, [])).text
    assert adjacency in text and ("one patient" in text) == (unit.column is not None)
    assert ("how many there are is public" in text) == (adjacency == "replace-one")


def test_the_attackers_bounds_are_those_of_the_theorem() -> None:
    """Randomized response reaches them, so they are neither too low nor too high."""
    eps = math.log(3)
    bound = report._bound({"epsilon": eps, "delta": 0.0})
    assert bound["accuracy"] == pytest.approx(0.75)  # tells the truth three times in four
    assert bound["detections"][0][1] == pytest.approx(0.03)
    assert report._bound({"epsilon": 0.0, "delta": 0.1})["accuracy"] == pytest.approx(0.55)
    assert not bound["weak"] and report._bound({"epsilon": 5.0, "delta": 0.0})["weak"]
    assert report._bound({"epsilon": 5000.0, "delta": 0.0})["accuracy"] == 1.0


def test_what_follows_from_epsilon_is_rounded_up() -> None:
    assert report._up(0.7541, 3) == "0.755" and report._up(1.0, 3) == "1.000" and report._up(0.3, 3) == "0.300"
    assert report._up(0.0000123, 3) == "0.00002" and report._up(0.0, 3) == "0.000"
    assert (
        charts.percent(0.68012) == "68.1%" and charts.percent(0.99991) == "99.991%" and charts.percent(1.0) == "100.0%"
    )


def test_every_read_is_on_the_price_list() -> None:
    made, source = page(), manifest()
    for part in source["parts"]:
        assert f"{part['name'].capitalize()}: ε" in made.text
        assert all(charge["what"] in made.text for charge in part["charges"])
    assert "234" in made.text and "parallel composition" in made.text and "80% of units" in made.text
    assert "Gaussian, 1.6 × bound, on a random 1% of units" in made.text


def test_floors_stand_beside_their_distances_and_payment_is_said() -> None:
    source = report.render(manifest(), [])
    made = Page(source)
    row = next(row for row in source.split("<tr>") if ">fidelity.tvd_2way<" in row)
    assert "0.0520" in row and "0.0440 to 0.0600" in row and "0.0290" in row and "Charged" in row and "c-floor" in row
    assert "fidelity.tvd_2way.floor" not in made.text
    assert "not available" in made.text and "−∞ to 0.2000" in made.text
    assert "No figure of quality" in page(evidence=()).text


def test_a_page_without_figures_says_so() -> None:
    assert "nothing to compare" in page(drawn=[]).text


# Charts -----------------------------------------------------------------------------------------


def test_every_chart_has_a_description_and_a_table() -> None:
    source = report.render(manifest(), figures())
    made = Page(source)
    drawings = [svg for svg in made.all("svg") if "aria-hidden" not in svg]
    assert len(drawings) == len(figures()) + 4 + 1
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 10 for svg in drawings)
    assert source.count("<summary>Numbers</summary>") == len(figures())
    assert all(label in made.text for figure in figures() for label in figure.labels)
    assert "−4" in made.text  # a noisy count may be negative; the table does not hide it


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": 0.0},
        {"noise": math.nan},
        {"labels": ("a",)},
        {"synthetic": (1.0, math.inf)},
        {"labels": (), "released": (), "synthetic": ()},
    ],
)
def test_figures_of_exact_or_broken_counts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="figure of c"):
        MarginalFigure(
            **{"column": "c", "labels": ("a", "b"), "released": (1.0, 2.0), "noise": 1.0, "synthetic": (1.0, 2.0)}
            | wrong
        )


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("count", [1, 2, 16, 17, 300])
@pytest.mark.parametrize("size", [0.0, -5.0, 3.0, 1e9])
def test_any_marginal_can_be_drawn(ordered: bool, count: int, size: float) -> None:
    values = tuple(size * (i + 1) for i in range(count))
    labels = tuple(f"a rather long category name {i}" for i in range(count))
    drawn = str(charts.marginal(MarginalFigure("c", labels, values, 4.0, values, ordered)))
    made = Page(drawn)
    box = [float(number) for number in made.all("svg")[0]["viewbox"].split()]
    assert len(made.all("circle")) <= charts.MAX_COLUMNS
    for bar in made.all("rect"):
        assert float(bar["width"]) >= 0 and float(bar["height"]) >= 0
        assert float(bar["x"]) + float(bar["width"]) <= box[2] and float(bar["y"]) + float(bar["height"]) <= box[3]
    assert "nan" not in drawn and "inf" not in drawn


def test_a_long_tail_shares_a_bar_and_keeps_its_total() -> None:
    counts = (*range(1, 41), 1000)
    figure = MarginalFigure("c", tuple(map(str, counts)), tuple(map(float, counts)), 3.0, tuple(map(float, counts)))
    bars = charts._tail_joined(figure._bars())
    assert len(bars) == charts.MAX_BARS and bars[-1].label == "26 others"
    assert sum(bar.released for bar in bars) == sum(counts)
    assert bars[-1].error == pytest.approx(3.0 * math.sqrt(26) * charts.NORMAL_95)


def test_the_distance_of_a_figure_and_of_noise_alone() -> None:
    figure = MarginalFigure("c", ("a", "b"), (60.0, 40.0), 5.0, (50.0, 50.0))
    assert figure.distance == pytest.approx(0.1)
    assert figure.noise_distance == pytest.approx(2 * 5 * math.sqrt(2 / math.pi) / 2 / 100)
    assert MarginalFigure("c", ("a",), (-3.0,), 5.0, (0.0,)).distance is None


# Readable ---------------------------------------------------------------------------------------


def colours(style: str) -> list[dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_marks_stand_out_in_light_and_in_dark() -> None:
    light, dark = colours(report.render(manifest(), []))
    assert light.keys() == dark.keys()
    for theme in (light, dark):
        for text in ("ink", "muted", "accent"):
            for ground in ("paper", "raised", "good-paper", "bad-paper", "care-paper"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        for kind in ("good", "bad", "care"):
            assert contrast(theme[kind], theme[f"{kind}-paper"]) >= 4.5
        for mark, ground in (("point", "bar"), ("floor", "paper"), ("point", "paper")):
            assert contrast(theme[mark], theme[ground]) >= 3, (mark, ground)


def test_paper_and_phones_are_thought_of() -> None:
    source = report.render(manifest(), [])
    assert "@media print" in source and "(max-width:" in source and "width=device-width" in source
    assert "prefers-color-scheme: dark" in source and "tabular-nums" in source
