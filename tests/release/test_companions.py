"""Labels, the description for catalogues and the datasheet: made from the manifest, and verified against it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from synthkit.errors import VerificationFailed
from synthkit.privacy.ledger import Ledger
from synthkit.release import bundle
from synthkit.release.companions import COMPANIONS, companions
from synthkit.release.job import Job
from synthkit.release.run import run
from tests.release.forging import refresh
from tests.release.test_job import write
from tests.tables import frame

GB_45438 = {
    "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2",
}  # fmt: skip
HANDLING = {"producer": "Clinic of Xanten", "labels": ["draft"], "retention_days": 90, "recipients": ["registry"]}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    frame().to_csv(folder / "people.csv", index=False)
    job = Job.read(write(folder, handling=HANDLING))
    return run(job, Ledger(folder / "ledger.sqlite")).folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "copy")


def manifest_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())  # type: ignore[no-any-return]


def test_tables_and_sidecar_carry_the_label(original: Path) -> None:
    beside = json.loads((original / "label.json").read_text())
    carried = pyarrow.parquet.read_metadata(original / "data.parquet").metadata
    assert set(beside["AIGC"]) == GB_45438 and beside["AIGC"]["Label"] == "1"
    assert beside["AIGC"]["ContentProducer"] == "Clinic of Xanten" and len(beside["AIGC"]["ProduceID"]) == 32
    assert json.loads(carried[b"AIGC"]) == beside["AIGC"]
    assert json.loads(carried[b"synthkit.labels"]) == beside["labels"] == ["synthetic", "draft"]


def test_a_table_without_its_label_is_noticed(copy: Path) -> None:
    table = pyarrow.parquet.read_table(copy / "data.parquet")
    metadata = {key: value for key, value in table.schema.metadata.items() if key != b"AIGC"}
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), copy / "data.parquet")
    manifest = manifest_in(copy)
    manifest["files"]["data.parquet"] = bundle._describe(copy / "data.parquet")
    for name, content in companions(manifest).items():
        (copy / name).write_bytes(content)
        manifest["files"][name] = bundle._describe(copy / name)
    seal(copy, manifest)
    with pytest.raises(VerificationFailed, match=r"data\.parquet does not carry the manifest's label \(AIGC\)"):
        bundle.verify(copy)


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_companion_that_says_something_else_is_noticed(copy: Path, name: str) -> None:
    manifest = manifest_in(copy)
    refresh(copy, manifest)
    (copy / name).write_text((copy / name).read_text().replace("synthetic", "authentic"))
    manifest["files"][name] = bundle._describe(copy / name)
    seal(copy, manifest)
    with pytest.raises(VerificationFailed, match=f"{name} does not say what the manifest says"):
        bundle.verify(copy)


def test_a_manifest_without_the_label_is_noticed(copy: Path) -> None:
    manifest = manifest_in(copy)
    manifest["handling"]["labels"] = ["draft"]
    refresh(copy, manifest)
    seal(copy, manifest)
    with pytest.raises(VerificationFailed, match="does not carry the label 'synthetic'"):
        bundle.verify(copy)


def test_the_datasheet_says_what_the_manifest_says(original: Path) -> None:
    text, manifest = (original / "datasheet.md").read_text(), manifest_in(original)
    assert manifest["guarantee"]["statement"] in text and "at most 90 days" in text and "`registry`" in text
    assert all(f"`{column}`" in text for column in manifest["columns"])
    assert all(f"`{figure['name']}`" in text for figure in manifest["evidence"])


def test_the_description_names_files_and_columns(original: Path) -> None:
    document, manifest = json.loads((original / "croissant.json").read_text()), manifest_in(original)
    assert {entry["name"]: entry["sha256"] for entry in document["distribution"]} == {
        name: manifest["files"][name]["sha256"] for name in ("data.csv", "data.parquet")
    }
    (records,) = document["recordSet"]
    assert [field["source"]["extract"]["column"] for field in records["field"]] == manifest["columns"]
    assert document["rai:personalSensitiveInformation"] == manifest["guarantee"]["statement"]
    assert document["synthkit:guarantee"]["synthkit:epsilon"] == manifest["guarantee"]["epsilon"]


@pytest.mark.slow
def test_mlcroissant_accepts_it_and_reads_the_rows(original: Path, tmp_path: Path) -> None:
    """In an environment of its own: it brings pins that are not ours."""
    made = subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], capture_output=True, check=False)
    python = tmp_path / "venv/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "mlcroissant==1.1.1"]
    if made.returncode or subprocess.run(install, capture_output=True, check=False).returncode:
        pytest.skip("mlcroissant cannot be installed here")
    script = (
        "import sys, mlcroissant as mlc; d = mlc.Dataset(jsonld=sys.argv[1]);"
        "rows = list(d.records('data')); print(len(rows), d.metadata.ctx.issues.report())"
    )
    done = subprocess.run(
        [python, "-c", script, original / "croissant.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("100 ") and "error" not in done.stdout.lower()


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Make the page and every digest fit, as a careful forger would."""
    from synthkit.release import report

    (folder / "report.html").write_text(report.render(manifest, ()))
    manifest["files"]["report.html"] = bundle._describe(folder / "report.html")
    manifest["manifest_sha256"] = bundle._digest(manifest)
    (folder / "manifest.json").write_bytes(bundle._serialise(manifest))
