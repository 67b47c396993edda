"""Explanations in files, in bundles and on the command line: free where they are public, and then without any read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from synthkit.cli import main
from synthkit.data import private as box
from synthkit.data.tables import FrameSource
from synthkit.errors import ExplanationError, JobError, VerificationFailed
from synthkit.explain.model import Explanation, explain_model
from synthkit.privacy.budget import Budget
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.noise import NoiseSource
from synthkit.release import bundle, explaining, run
from synthkit.release.job import Job
from synthkit.synthesizers.base import load
from synthkit.synthesizers.tabular_gan import TabularGan
from tests.synthesizers.contract import fitted
from tests.tables import frame, schema

PUBLIC = schema(rows=1000)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN's model folder."""
    folder = tmp_path_factory.mktemp("explained") / "model"
    fitted(TabularGan(iterations=20, batch=64, width=16, latent=4), PUBLIC, frame(1000), Budget(5.0, 1e-5), seed=1)[
        0
    ].save(folder)
    return folder


@pytest.fixture(scope="module")
def explained(saved: Path) -> Explanation:
    return explain_model(load(saved), rows=60, seeds=2)


def job(folder: Path, **change: Any) -> Job:
    settings = {"iterations": 5, "batch": 64, "width": 16, "latent": 4}
    return replace(
        Job("people", FrameSource(frame(1000)), PUBLIC, Budget(5.0, 1e-5), "tabular_gan", 600, folder, settings),
        **change,
    )


def test_a_model_is_explained_from_what_it_draws(explained: Explanation) -> None:
    judge, downstream = explained.subjects
    assert judge.name == "discriminator" and "ill" not in judge.explained.columns  # held fixed
    assert downstream.name == "downstream" and set(downstream.explained.columns) == set(PUBLIC.modelled) - {"ill"}
    assert explained.payment == "free"
    assert all(subject.explained.payment == subject.surrogate.payment == "free" for subject in explained.subjects)
    assert [found.payment for found in explained.defects] == ["free"]
    assert judge.explained.gap <= 1e-5 and downstream.explained.gap <= 1e-3
    assert judge.explained.errors is None  # six columns: exact
    assert "smoker" in downstream.verdict or "age" in downstream.verdict
    document = json.dumps(explained.to_dict(), allow_nan=False)
    assert "internal" not in document


def test_the_page_stands_alone_and_has_words_for_every_figure(explained: Explanation) -> None:
    page = explaining.render(explained)
    assert "<script" not in page and "http://" not in page and "https://" not in page and "@import" not in page
    drawings = re.findall(r'<svg class="chart"[^>]*aria-label="([^"]*)"', page)
    assert len(drawings) == 2 * 2 + 2 * 3 * 2 and all(len(label) > 20 for label in drawings)
    assert page.count('role="img"') == page.count("<svg")
    for badge in ("Adds up: yes", "Stable over seeds", "Deletion", "LIME faithful", "Paid: free"):
        assert page.count(badge) >= 2 * (2 + 3)  # on every figure
    assert page.index(explained.verdict[0]) < page.index("<svg")
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    view = explained.subjects[0]._repr_html_()
    assert "<svg" in view and "<script" not in view and explained.subjects[0].verdict in view
    assert explained._repr_html_().startswith("<style>")


def test_names_from_outside_are_escaped(explained: Explanation) -> None:
    mean = "<script>alert(1)</script>"
    subject = explained.subjects[1]
    one = replace(subject.explained, columns=(mean, *subject.explained.columns[1:]))
    changed = replace(
        subject,
        explained=one,
        verdict=mean,
        surrogate=replace(subject.surrogate, columns=one.columns),
        labels={mean: [mean] * 9, **subject.labels},
    )
    page = explaining.render(replace(explained, subjects=(changed,)))
    assert mean not in page and "&lt;script&gt;" in page
    assert mean not in changed._repr_html_()


def test_a_public_explanation_reads_nothing_private(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the fitted model on: no locked box is opened, no row is read, no entry is made."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    opened: list[object] = []
    during: list[int] = []
    reveal = box.reveal

    def spy(private: Any) -> Any:
        opened.append(private)
        return reveal(private)

    import sys

    for name, module in list(sys.modules.items()):
        if name.startswith("synthkit.") and getattr(module, "reveal", None) is reveal:
            monkeypatch.setattr(module, "reveal", spy)
    whole = explaining.public

    def watched(*arguments: Any, **more: Any) -> Explanation:
        before, spent = len(opened), ledger.spent("people").epsilon
        found = whole(*arguments, **more)
        during.append(len(opened) - before)
        assert ledger.spent("people").epsilon == spent
        return found

    monkeypatch.setattr(explaining, "public", watched)
    made = run.run(job(tmp_path / "with", explain=True), ledger, noise=NoiseSource(test_seed=5))
    assert during == [0]
    reads = len(opened)
    assert reads > 0  # the spy sees what is read
    plain = run.run(job(tmp_path / "without"), ledger, noise=NoiseSource(test_seed=5))
    assert len(opened) == 2 * reads
    assert made.epsilon == plain.epsilon and made.manifest["parts"] == plain.manifest["parts"]
    assert set(made.manifest["files"]) - set(plain.manifest["files"]) == {"explanation.html", "explanation.json"}
    bundle.verify(made.folder)


def repaired(folder: Path, change: dict[str, bytes | None]) -> None:
    """Files replaced (or removed) and every digest made to fit, as somebody would who means to."""
    path = folder / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    for name, content in change.items():
        if content is None:
            (folder / name).unlink()
            del manifest["files"][name]
        else:
            (folder / name).write_bytes(content)
            manifest["files"][name] = bundle._describe(folder / name)
    manifest["manifest_sha256"] = bundle._digest(manifest)
    path.write_bytes(bundle._serialise(manifest))


def test_internal_explanations_stay_out_of_bundles(tmp_path: Path) -> None:
    made = run.run(
        job(tmp_path / "out", explain=True, internal=True, model=True),
        Ledger(tmp_path / "ledger.sqlite"),
        noise=NoiseSource(test_seed=2),
    )
    assert made.internal is not None
    inside = json.loads((made.internal / "explanation.json").read_text())
    assert inside["payment"] == "internal" and inside["warning"].startswith("INTERNAL")
    assert inside["agreement"]["payment"] == "internal" and inside["defects"][0]["auc"]["payment"] == "internal"
    page = (made.internal / "explanation.html").read_text()
    assert "INTERNAL: do not share" in page and "Same reasons?" in page and "Paid: internal" in page
    assert (made.internal / "explanation.json").stat().st_mode & 0o077 == 0
    public = json.loads((made.folder / "explanation.json").read_text())
    assert public["agreement"] is None and "internal" not in json.dumps(public)
    raw = (made.internal / "explanation.json").read_bytes()
    repaired(made.folder, {"explanation.json": raw})
    with pytest.raises(VerificationFailed):  # the report names the files' digests, too
        bundle.verify(made.folder)
    assert "not paid for" in (explaining.check_public(raw) or "")
    assert explaining.check_public(b"{") == "explanation.json is damaged"
    assert "version 1" in (explaining.check_public(b'{"payment": "free"}') or "")
    assert explaining.check_public(json.dumps(public).encode()) is None

    runner = CliRunner()
    done = runner.invoke(main, ["explain", str(made.folder), "--rows", "30", "--seeds", "2", "-o", str(tmp_path / "e")])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("The discriminator") and (tmp_path / "e" / "explanation.html").exists()
    again = runner.invoke(main, ["explain", str(made.folder), "-o", str(tmp_path / "e")])
    assert again.exit_code == 2 and "exists" in again.output
    few = runner.invoke(main, ["explain", str(made.folder), "--rows", "3"])
    assert few.exit_code == 2 and "rows is 3" in few.output


def test_what_cannot_be_explained_is_named(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    for folder, why in ((tmp_path / "bundle", "holds no model"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(JobError, match=why):
            explaining.explain_saved(folder, rows=50, seeds=2, seed=0)
    with pytest.raises(ExplanationError, match="one table"):
        explain_model(object())  # type: ignore[arg-type]
    with pytest.raises(ExplanationError, match="seeds is 1"):
        explain_model(load(saved), seeds=1)


def test_a_table_without_target_or_of_one_class_is_explained_as_far_as_it_goes() -> None:
    from synthkit.synthesizers.independent import Independent

    model, _ = fitted(Independent(), schema(target=None))
    found = explain_model(model, rows=30, seeds=2)
    assert found.subjects == () and "declares no target" in found.missing[1] and "no discriminator" in found.missing[0]
    data = frame(300).assign(ill="no")
    single = explain_model(fitted(Independent(), budget=Budget(1e4, 1e-5), data=data)[0], rows=30, seeds=2)
    assert single.subjects == () and "single class" in single.missing[1]
    assert "No downstream model" in explaining.render(single)


# What is read from held-out rows, for a price


def test_what_is_asked_of_the_holdout_is_priced_and_shown(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    asked = job(tmp_path / "out", method="independent", settings={}, explain=True, holdout=0.3)
    asked = replace(asked, explain_charged=("importance", "defects"))
    priced, plain = run.price(asked), run.price(replace(asked, explain_charged=()))
    assert priced.holdout is not None and plain.holdout is not None
    assert set(priced.holdout.noise) == {"holdout", "importance", "defects"}
    assert priced.holdout.noise["holdout"] > plain.holdout.noise["holdout"], "the holdout's budget is shared"
    assert priced.epsilon <= asked.budget.epsilon * (1 + 1e-9)
    made = run.run(asked, ledger, noise=NoiseSource(test_seed=3))
    (_, holdout) = made.manifest["parts"]
    what = [charge["what"] for charge in holdout["charges"]]
    assert any("mean attributions of gradient boosting of ill" in text for text in what), what
    assert len([charge for charge in holdout["charges"] if "mean attributions" not in charge["what"]]) > 1
    figures = {figure.name: figure for figure in made.evidence if figure.name.startswith("explain.importance.")}
    assert set(figures) == {f"explain.importance.{name}" for name in schema().modelled if name != "ill"}
    assert all(figure.payment == "charged" and figure.interval is not None for figure in figures.values())
    document = json.loads((made.folder / "explanation.json").read_text())
    assert document["payment"] == document["importance"]["payment"] == "charged"
    assert [defects["payment"] for defects in document["defects"]] == ["free", "charged"]
    page = (made.folder / "explanation.html").read_text()
    assert "What matters on real rows" in page and "Beside noisy marginals of held-out rows" in page
    bundle.verify(made.folder)


def test_importance_on_real_rows_finds_what_matters(tmp_path: Path) -> None:
    """With many rows and little noise, the columns that the truth was made of."""
    public = replace(schema(), rows=4000)
    asked = replace(job(tmp_path / "out", explain=True, explain_charged=("importance",), holdout=0.5),
        source=FrameSource(frame(4000)), schema=public, budget=Budget(200.0, 1e-5), method="mst", settings={}, rows=4000)  # fmt: skip
    made = run.run(asked, Ledger(tmp_path / "ledger.sqlite"), noise=NoiseSource(test_seed=3))
    found = {f.name.removeprefix("explain.importance."): f.value for f in made.evidence if "importance" in f.name}
    assert set(sorted(found, key=lambda name: -found[name])[:2]) == {"smoker", "age"}, found


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"holdout": 0.0}, "holdout is 0; set a holdout"),
        ({"schema": schema(target=None)}, "predicts a target"),
    ],
)
def test_what_cannot_be_asked_of_the_holdout(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(JobError, match=told):
        run.run(job(tmp_path / "out", explain=True, explain_charged=("importance",), **changes), ledger)
    assert ledger.entries() == []


def test_images_are_explained_in_their_release(tmp_path: Path) -> None:
    from tests import images as bars

    asked = Job.read(bars.write(tmp_path, explain=True, holdout=0))
    made = run.run(asked, Ledger(tmp_path / "ledger.sqlite"))
    document = json.loads((made.folder / "explanation.json").read_text())
    assert document["payment"] == "free" and document["pictures"]
    assert "data:image/png" in (made.folder / "explanation.html").read_text()
    bundle.verify(made.folder)
    with pytest.raises(JobError, match="of one table alone"):
        run.price(Job.read(bars.write(tmp_path, explain={"importance": True}, output="other")))


def test_linked_tables_are_explained_in_their_release_and_from_their_model(tmp_path: Path) -> None:
    from tests.release.test_linked_release import write as write_linked

    asked = Job.read(write_linked(tmp_path, explain=True, model=True, holdout=0))
    ledger = Ledger(tmp_path / "ledger.sqlite")
    made = run.run(asked, ledger)
    document = json.loads((made.folder / "explanation.json").read_text())
    assert document["payment"] == "free" and document["schema"] == "patients and visits"
    assert [subject["name"] for subject in document["subjects"]] == ["visits-downstream"]
    inputs = {entry["column"] for entry in document["subjects"][0]["columns"]}
    assert inputs > {"ward", "days", "cost"} and any("chronic" in name for name in inputs), "its parent's columns, too"
    assert len(document["defects"]) == 2 and any(
        "patients: No downstream model" in told for told in document["missing"]
    )
    bundle.verify(made.folder)
    done = CliRunner().invoke(
        main, ["explain", str(made.folder), "--rows", "30", "--seeds", "2", "-o", str(tmp_path / "why")]
    )
    assert done.exit_code == 0 and "visits: A model trained on the synthetic rows predicts readmitted" in done.output
