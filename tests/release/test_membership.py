"""Releases that were made, attacked: linked tables by parents with all their children, and images.

An honest release passes, one that leaks is caught. ``tests/mutants`` runs this on code that leaks on purpose.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import synthkit as sk
from synthkit.audit.membership import Attack
from synthkit.cli import main
from synthkit.data import vault
from synthkit.errors import InputError
from synthkit.release import internal
from synthkit.release.internal import CHILDREN, IMAGES, PARTS, membership
from synthkit.release.job import Job
from synthkit.release.run import Release, run
from tests.audit.caught import caught
from tests.images import schema as bars
from tests.images import write as write_images
from tests.linked import frames
from tests.release.test_linked_release import PUBLIC
from tests.release.test_linked_release import write as write_linked

FAMILIES = ("density ratio", "nearest neighbour", "density ratio of children")
PICTURES = tuple(f"{how}, {space}" for space in ("pixels", "features") for how in ("nearest neighbour", "relative distance"))  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("linked")
    job = Job.read(write_linked(folder, frames(1_200), internal="allow", holdout=0.5))
    return run(replace(job, schema=PUBLIC.with_rows(1_200), rows=600), sk.Ledger(folder / "ledger.sqlite"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("images")
    job = Job.read(write_images(folder, bars(rows=900), 900, internal="allow", holdout=0.5))
    return run(replace(job, rows=400), sk.Ledger(folder / "ledger.sqlite"))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def copied(made: Release, folder: Path) -> Path:
    """The bundle and its internal folder, elsewhere."""
    assert made.internal is not None
    shutil.copytree(made.internal, folder / "release.internal")
    return Path(shutil.copytree(made.folder, folder / "release"))


def by_name(found: list[Attack]) -> dict[str, Attack]:
    return {attack.name: attack for attack in found}


# Linked tables


def test_an_honest_release_of_linked_tables_passes(tables: Release) -> None:
    found = by_name(membership(tables.folder))
    assert list(found) == [*FAMILIES, *(f"{name} (control)" for name in FAMILIES)]
    assert not any(caught(attack) for attack in found.values())
    assert 500 < found["density ratio"].members < 700 and 150 < found["density ratio"].others < 250


def test_linked_tables_that_were_copied_are_caught(tables: Release, tmp_path: Path) -> None:
    """As if the families that were released had been trained on: then every other parent of the bundle is a copy."""
    folder = copied(tables, tmp_path)
    beside = tmp_path / "release.internal"
    honest = internal._rows(beside, list(PUBLIC.counted.modelled))
    parents = pd.read_parquet(folder / "patients.parquet")
    visits = pd.read_parquet(folder / "visits.parquet")
    owner = visits["patient"].to_numpy(dtype=np.int64) - 1
    counted = parents.assign(**{PUBLIC.count: np.bincount(owner, minlength=len(parents))})
    codes, theirs = (
        internal._codes(table, schema, folder) for table, schema in ((counted, PUBLIC.counted), (visits, PUBLIC.child))
    )
    kept = pd.read_parquet(beside / CHILDREN)
    before = int((~honest[1]).sum())  # members of the honest release, whose places the copies take
    others = kept[kept["__parent__"] >= before]
    rows = pd.DataFrame(np.concatenate([codes, honest[0][honest[1]]]), columns=list(PUBLIC.counted.modelled))
    rows.insert(0, "__holdout__", np.arange(len(rows)) >= len(codes))
    rows.to_parquet(beside / PARTS, index=False)
    copies = pd.DataFrame(theirs, columns=list(PUBLIC.child.modelled))
    copies.insert(0, "__parent__", owner)
    shifted = others.assign(__parent__=others["__parent__"] - before + len(codes))
    pd.concat([copies, shifted]).to_parquet(beside / CHILDREN, index=False)
    found = by_name(membership(folder))
    assert caught(found["nearest neighbour"]) and caught(found["density ratio"])
    assert not any(caught(found[f"{name} (control)"]) for name in FAMILIES)


def test_what_is_kept_of_linked_tables_fits_together(tables: Release) -> None:
    assert tables.internal is not None and tables.internal.stat().st_mode & 0o077 == 0
    there = {path.name for path in tables.internal.iterdir()}
    matrices = {f"{t}.associations_{of}.csv" for t in ("patients", "visits") for of in ("real", "synthetic")}
    assert {"internal.json", PARTS, CHILDREN, *matrices} <= there
    parents, children = (pd.read_parquet(tables.internal / name) for name in (PARTS, CHILDREN))
    counts = np.bincount(children["__parent__"], minlength=len(parents))
    assert len(parents) == 1_200 and 0.4 < parents["__holdout__"].mean() < 0.6
    np.testing.assert_array_equal(counts, parents[PUBLIC.count])
    # A child stands with its own parent: in these data only women are in maternity.
    wards, sexes = PUBLIC.child.columns["ward"], PUBLIC.parent.columns["sex"]
    maternity, woman = wards.categories.index("maternity"), sexes.categories.index("f")  # type: ignore[union-attr]
    assert set(parents["sex"][children["__parent__"][children["ward"] == maternity]]) == {woman}


def test_exact_figures_of_linked_tables_are_of_each_table_and_of_the_link(tables: Release) -> None:
    assert tables.internal is not None
    document = json.loads((tables.internal / "internal.json").read_text())
    assert document["warning"].startswith("INTERNAL")
    figures = {figure["name"]: figure for figure in document["evidence"]}
    assert {figure["payment"] for figure in figures.values()} == {"internal"}
    assert {
        "patients.fidelity.exact_tvd_1way_training",
        "visits.fidelity.exact_tvd_2way_holdout",
        "visits.utility.exact_tstr_auc_logistic",
        "visits.similarity.copies_training",
        "link.exact_tvd_number_training",
        "link.exact_tvd_2way_holdout",
    } <= set(figures)
    shown = (tables.folder / "manifest.json").read_text() + (tables.folder / "report.html").read_text()
    assert "exact_" not in shown and "__holdout__" not in shown


# Images


def test_an_honest_release_of_images_passes(pictures: Release) -> None:
    found = by_name(membership(pictures.folder))
    assert list(found) == [*PICTURES, *(f"{name} (control)" for name in PICTURES)]
    assert not any(caught(attack) for attack in found.values())


def test_a_bundle_that_copies_thirty_percent_of_the_training_images_is_caught(
    pictures: Release, tmp_path: Path
) -> None:
    """As if three of ten training images were in the bundle, the others as they are."""
    folder = copied(pictures, tmp_path)
    path = tmp_path / "release.internal" / IMAGES
    with np.load(path) as kept:
        arrays = {name: kept[name].copy() for name in kept}
    released = np.load(folder / "images.npz")["images"][:, None]
    copies = round(0.3 * len(arrays["training_pixels"]))
    arrays["training_pixels"][:copies] = released[:copies]
    np.savez_compressed(path, **arrays)
    found = by_name(membership(folder))
    for name in PICTURES:
        assert caught(found[name]) and not caught(found[f"{name} (control)"])
        assert found[name].interval[0] > 0.5 and found[name].tpr_at_1_percent >= 0.25


# Both


@pytest.mark.parametrize("kind", ["tables", "pictures"])
def test_the_command_writes_what_it_shows(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = copied(request.getfixturevalue(kind), tmp_path)
    told = call("audit", "release", folder, "--against", "holdout")
    assert told.exit_code == 0, told.output
    assert told.output.startswith("INTERNAL, NOT to be shared.") and "(control)" in told.output
    machine = json.loads(call("audit", "release", folder, "--against", "holdout", "--json").output)
    written = json.loads((tmp_path / "release.internal" / "membership.json").read_text())
    assert written["attacks"] == machine["attacks"] and machine["internal"]
    assert written["warning"].startswith("INTERNAL") and written["bundle"] == sk.verify(folder).manifest_sha256


@pytest.mark.parametrize(("kind", "missing"), [("tables", PARTS), ("tables", CHILDREN), ("pictures", IMAGES)])
def test_without_the_parts_there_is_no_attack(
    kind: str, missing: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = copied(request.getfixturevalue(kind), tmp_path)
    (tmp_path / "release.internal" / missing).unlink()
    with pytest.raises(InputError, match=f"{missing}: no such file; it is written where the release file says"):
        membership(folder)


@pytest.mark.parametrize("kind", ["tables", "images"])
def test_without_a_holdout_there_is_nobody_to_tell_members_from(kind: str, tmp_path: Path) -> None:
    write: Callable[..., Path] = write_linked if kind == "tables" else write_images
    made = run(Job.read(write(tmp_path, internal="allow", holdout=0)), sk.Ledger(tmp_path / "ledger.sqlite"))
    with pytest.raises(InputError, match="too few rows on one side; a holdout is needed"):
        membership(made.folder)


def test_images_are_kept_by_units_and_no_more_than_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthkit.data.images import Images
    from tests.images import images

    monkeypatch.setattr(internal, "MOST", 20)
    made = images(bars(), 100)
    owned = Images(made.pixels, made.labels, (np.arange(100) // 2).astype(np.uint64) + 2**63)
    internal.keep_images(tmp_path, owned, owned.take(np.arange(0)))
    content: Any = vault.get(tmp_path / IMAGES)
    with np.load(io.BytesIO(content)) as kept:
        assert kept["training_pixels"].shape == (40, 1, 8, 8) and set(kept["training_units"]) == set(range(20))
        assert len(kept["holdout_pixels"]) == 0
