"""Labelled images from file to bundle: priced, split, assessed, written, verified, attacked, refused."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

import synthkit as sk
from synthkit.audit import images as neighbours
from synthkit.audit.replay import replay
from synthkit.cli import main
from synthkit.data.images import ArraySource
from synthkit.data.schema import Unit
from synthkit.data.tables import FrameSource
from synthkit.errors import JobError, VerificationFailed
from synthkit.privacy.noise import NoiseSource
from synthkit.release import attack, bundle, compliance, pictures
from synthkit.release.job import Job
from synthkit.release.run import Release, run
from tests.images import QUICK, images, schema, write
from tests.tables import frame
from tests.tables import schema as table_schema

PATIENT = Unit("patient", 2)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release with its model and internal figures; tests that change a file copy it first."""
    folder = tmp_path_factory.mktemp("images")
    job = Job.read(write(folder, schema(unit=PATIENT), model=True, internal="allow"))
    return run(job, sk.Ledger(folder / "ledger.sqlite"))


def shell(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_release_verifies_and_is_booked(released: Release) -> None:
    found = sk.verify(released.folder)
    assert found.private and found.rows == 50 and found.what == "images"
    assert found.unit == "patient (at most 2 rows)"
    book = sk.Ledger(released.folder.parent / "ledger.sqlite")
    assert found.epsilon == pytest.approx(released.epsilon) == book.spent("bars").epsilon
    assert 0.99 * 5 < released.epsilon <= 5
    there = {path.name for path in released.folder.iterdir()}
    assert {"images", "images.npz", "images.parquet", "manifest.json", "model", "report.html"} <= there
    assert "data.parquet" not in there
    assert len(list((released.folder / "images").rglob("*.png"))) == 50


def test_what_was_released_can_be_read_again(released: Release) -> None:
    public = schema(rows=50)
    for source in (
        sk.images_at(released.folder / "images"),
        sk.images_at(released.folder / "images.npz"),
        sk.images_at(released.folder / "images.parquet"),
    ):
        sk.read_images(source, public, dataset="synthetic")
    assert len(sk.load(released.folder / "model").sample(3).pixels) == 3  # type: ignore[attr-defined]


def test_evidence_is_charged_or_free_and_has_intervals(released: Release) -> None:
    figures = {figure.name: figure for figure in released.evidence}
    assert {
        "utility.tstr_accuracy_cnn",
        "utility.tstr_accuracy_logistic",
        "utility.tstr_accuracy_boosting",
        "class_accuracy.0_left",
        "likeness.precision",
        "likeness.recall_floor",
        "likeness.covered",
        "frechet.distance",
        "frechet.distance_floor",
    } <= set(figures)
    for figure in released.evidence:
        assert figure.payment == ("free" if figure.name.endswith("_floor") else "charged")
        assert figure.interval is not None and figure.interval[0] <= figure.value <= figure.interval[1]
    parts = released.manifest["parts"]
    assert [part["name"] for part in parts] == ["training", "holdout"]
    assert all(part["epsilon"] <= 5 for part in parts)


def test_a_compliance_report_of_images(released: Release) -> None:
    made = compliance.report(released.folder)
    found = {r.rule.name: (r.state, r.evidence[0].found) for a in made.audits for r in a.requirements}
    assert made.dossier.what == "images" and made.failed
    assert [column.kind for column in made.dossier.columns] == ["image", "categorical"]
    assert found["photographs"] == (
        "not evaluated",
        "nobody said what these hold ('holds' in the schema): bars.image, bars.label",
    )
    assert found["image-provenance"] == ("fail", "images/*.png: no provenance inside")
    assert "images/*.png" in found["machine-readable"][1] and found["composition"][0] == "pass"
    assert "image-watermark" in found and not any(column.values for column in made.dossier.columns[:1])


def test_internal_figures_and_pictures_stay_outside(released: Release) -> None:
    assert released.internal is not None and released.internal.stat().st_mode & 0o077 == 0
    document = json.loads((released.internal / "internal.json").read_text())
    assert {figure["payment"] for figure in document["evidence"]} == {"internal"}
    names = {figure["name"] for figure in document["evidence"]}
    assert {"utility.exact_trtr_accuracy_cnn", "likeness.exact_frechet_floor", "similarity.exact_copies"} <= names
    assert (released.internal / "neighbours.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "exact_" not in (released.folder / "manifest.json").read_text() + (released.folder / "report.html").read_text()
    )


def test_the_report_shows_synthetic_images_with_a_text_for_each_row(released: Release) -> None:
    page = (released.folder / "report.html").read_text()
    labels = np.load(released.folder / "images.npz")["labels"].tolist()
    for label in set(labels):
        assert f'alt="Synthetic images of class {label}, side by side"' in page
    assert page.count("data:image/png;base64,") == len(set(labels))
    assert "img-src data:" in page and "the images of one patient" in page
    assert "one row" not in page and "50 images" in page


def _swap(folder: Path) -> None:
    first, second = sorted((folder / "images").rglob("*.png"))[:2]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def _relabel(folder: Path) -> None:
    arrays = np.load(folder / "images.npz")
    labels = arrays["labels"].copy()
    labels[0] = "left" if labels[0] != "left" else "right"
    np.savez(folder / "images.npz", images=arrays["images"], labels=labels)


def _fullest(folder: Path) -> list[Path]:
    """The files of the class with most images: one may go, and its folder is not empty."""
    classes = [sorted(one.glob("*.png")) for one in (folder / "images").iterdir()]
    return max(classes, key=len)


def _move(folder: Path) -> None:
    file = _fullest(folder)[0]
    other = next(folder / "images" / name for name in schema().classes if name != file.parent.name)
    other.mkdir(exist_ok=True)  # a fresh release may hold images of one class alone
    file.rename(other / f"9{file.name}")  # a number that no image has


def _lose(folder: Path) -> None:
    _fullest(folder)[0].unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_swap, "differ in 2 images"),
        (_relabel, "hold different images"),
        (_move, "one file for every image"),
        (_lose, "one file for every image"),
    ],
    ids=["swapped", "relabelled", "moved", "gone"],
)
def test_forms_that_disagree_are_found_even_where_all_digests_are_right(
    released: Release, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(released.folder, folder)
    damage(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for seal in bundle.SEALS:
        (folder / seal).unlink(missing_ok=True)
    names = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    manifest["files"] = {
        name: bundle._describe(folder / name) for name in sorted(str(path.relative_to(folder)) for path in names)
    }
    page = bundle.report.render(manifest, [])
    (folder / "report.html").write_text(page)
    manifest["files"]["report.html"] = bundle._describe(folder / "report.html")
    manifest["manifest_sha256"] = bundle._digest(manifest)
    (folder / "manifest.json").write_bytes(bundle._serialise(manifest))
    with pytest.raises(VerificationFailed, match=says):
        sk.verify(folder)


def test_folders_are_named_after_classes_or_numbered() -> None:
    assert pictures.Pictures(schema(), 5).file_of(0, 2) == "images/across/1.png"
    odd = pictures.Pictures(schema(classes=("a b", "c/d", "e")), 100)
    assert odd.file_of(9, 1) == "images/1/010.png"
    assert pictures.Pictures(schema(classes=("A", "a")), 1).folder_of(1) == "1"


def test_a_test_seed_marks_everything_non_private(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, holdout=0))
    made = run(job, sk.Ledger(tmp_path / "ledger.sqlite"), noise=NoiseSource(test_seed=1))
    assert not sk.verify(made.folder).private and made.evidence == ()


def test_a_warm_start_is_named_in_the_manifest_and_its_path_is_not(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    for k, image in enumerate(images(schema(), 4, seed=9).pixels):
        (tmp_path / "public" / f"{k}.png").write_bytes(pictures._encoded(image))
    settings = {"name": "image_gan", "moments": {**QUICK, "warm_start": "public"}, "discriminator_steps": 3}
    made = run(Job.read(write(tmp_path, holdout=0, method=settings)), sk.Ledger(tmp_path / "ledger.sqlite"))
    assert made.manifest["method"]["note"].startswith("warm start on 4 images that are declared public, sha256 ")
    assert made.manifest["method"]["settings"]["moments"]["warm_start"] == "public"
    assert str(tmp_path) not in (made.folder / "manifest.json").read_text() + (made.folder / "report.html").read_text()


# --- from Python ------------------------------------------------------------------------------------------


def test_fit_takes_images(tmp_path: Path) -> None:
    public = schema()
    made = images(public)
    source = ArraySource(made.pixels, made.labels)
    ledger = sk.Ledger(tmp_path / "ledger.sqlite")
    model: Any = sk.fit(source, public, sk.Budget(5.0, 1e-4), dataset="bars", settings=QUICK, ledger=ledger)
    assert model.sample(4).pixels.shape == (4, 1, 8, 8)
    assert ledger.spent("bars").epsilon == pytest.approx(5, rel=0.01)
    assert model.marginals[0].counts.shape == (3,)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    made, budget = images(schema()), sk.Budget(5.0, 1e-4)
    source, rows = ArraySource(made.pixels, made.labels), FrameSource(frame())
    for data, public, name, says in (
        (source, schema(), "aim", "method aim is for a table, and schema bars declares images; there are image_"),
        (rows, table_schema(), "image_moments", "is for images, and schema people declares a table; there are aim"),
        (source, table_schema(), "aim", "the data are images, and the schema is a table's"),
        (rows, schema(), "image_moments", "declares images, and the data are a table's"),
    ):
        with pytest.raises(JobError, match=says):
            sk.fit(data, public, budget, dataset="x", name=name, ledger=sk.Ledger(tmp_path / "ledger.sqlite"))


# --- the command line -------------------------------------------------------------------------------------


def test_the_command_line_plans_releases_samples_and_verifies(tmp_path: Path) -> None:
    file, book = write(tmp_path, holdout=0, model=True), tmp_path / "ledger.sqlite"
    planned = shell("plan", file)
    assert planned.exit_code == 0 and "noise: codes" in planned.output
    made = shell("release", file, "--ledger", book)
    assert made.exit_code == 0 and "50 synthetic images" in made.output, made.output
    assert "50 images" in shell("verify", tmp_path / "release").output
    out = tmp_path / "left"
    drawn = shell("sample", tmp_path / "release", "--rows", 4, "--where", "label=left", "-o", out)
    assert drawn.exit_code == 0 and len(list((out / "left").iterdir())) == 4, drawn.output
    assert shell("sample", tmp_path / "release", "--rows", 4, "-o", tmp_path / "some.npz").exit_code == 0
    wrong = shell("sample", tmp_path / "release", "--rows", 4, "-o", tmp_path / "some.csv")
    assert wrong.exit_code == 2 and "name a folder, or a file that ends in .npz" in wrong.output
    wrong = shell("sample", tmp_path / "release", "--rows", 4, "--where", "sex=f", "-o", tmp_path / "other")
    assert wrong.exit_code == 2 and "images have only a label" in wrong.output


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": {"path": "bars.npz", "split": "val"}}, "there is no split 'val'; there are: train"),
        ({"data": {"path": "gone.npz"}}, "gone.npz"),
        ({"data": {"path": "bars.schema.yaml"}}, "unknown kind of file"),
        ({"data": {"path": "bars.npz", "null_values": ["x"]}}, "null_values is for tables"),
        ({"data": {"path": "bars.npz", "image_column": "x"}}, "image_column is for Parquet files"),
        ({"data": {"path": "https://host/bars.npz"}}, "data.path is a URL"),
        ({"data": {"sql": "sqlite://", "query": "SELECT 1"}}, "data.sql is for tables"),
        ({"data": {"sample": "adult"}}, "sample adult is a table"),
        ({"method": {"name": "aim"}}, "method aim is for a table"),
        ({"method": {"name": "image_moments", "stepz": 3}}, "has no setting stepz"),
        ({"schema": None, "data": {"sample": "adult"}}, "is for images, and schema adult declares a table"),
    ],
)
def test_bad_release_files_are_refused_before_anything_is_spent(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    made = shell("release", write(tmp_path, **changes), "--ledger", tmp_path / "ledger.sqlite")
    assert made.exit_code == 2 and says in made.output, made.output
    assert not (tmp_path / "release").exists()
    assert not (tmp_path / "ledger.sqlite").exists() or sk.Ledger(tmp_path / "ledger.sqlite").datasets() == []


def _png(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **options)
    return stream.getvalue()


def _bomb() -> bytes:
    """A PNG file whose header promises a hundred million pixels."""
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    parts = b""
    for content in (b"IHDR" + header, b"IDAT" + zlib.compress(b"\x00" * 99), b"IEND"):
        parts += struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + parts


GREY = np.zeros((8, 8), np.uint8)
BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "another size": ("left/z.png", _png(np.zeros((9, 8), np.uint8)), "1 image"),
    "colour": ("left/z.png", _png(np.zeros((8, 8, 3), np.uint8)), "1 image"),
    "corrupt": ("left/z.png", _png(GREY)[:40], "1 image"),
    "16 bits": ("left/z.png", _png(np.zeros((8, 8), np.uint16)), "1 image"),
    "grey with alpha": ("left/z.png", _png(np.zeros((8, 8, 2), np.uint8)), "1 image"),
    "animated": (
        "left/z.png",
        _png(GREY, save_all=True, append_images=[Image.fromarray(GREY + 9)]),
        "1 image",
    ),
    "a bomb": ("left/z.png", _bomb(), "more than 50000000 pixels"),
    "another file": ("left/Meyer_1970.doc", b"hello", "has the extension .doc"),
    "another class": ("middle/z.png", _png(GREY), "whose name is no declared class"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_images_are_refused_with_nothing_spent_and_nothing_told(tmp_path: Path, name: str) -> None:
    convert = "resize" if name == "a bomb" else "none"  # else its size alone refuses it
    file = write(tmp_path, data={"path": "folder", "convert": convert}, holdout=0)
    for label in ("left", "right"):
        (tmp_path / "folder" / label).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "folder" / label / f"patient-{k}.png").write_bytes(_png(GREY))
    where, content, says = BAD_FILES[name]
    (tmp_path / "folder" / where).parent.mkdir(exist_ok=True)
    (tmp_path / "folder" / where).write_bytes(content)
    made = shell("release", file, "--ledger", tmp_path / "ledger.sqlite")
    assert made.exit_code == 2 and says in made.output and "folder" in made.output, made.output
    assert "patient-" not in made.output and "Meyer" not in made.output and "Traceback" not in made.output
    assert sk.Ledger(tmp_path / "ledger.sqlite").spent("bars").epsilon == 0 and not (tmp_path / "release").exists()


def test_a_class_without_images_is_legal(tmp_path: Path) -> None:
    (tmp_path / "folder" / "left").mkdir(parents=True)
    for k in range(3):
        (tmp_path / "folder" / "left" / f"{k}.png").write_bytes(_png(GREY))
    file = write(tmp_path, data={"path": "folder"}, holdout=0)
    assert shell("release", file, "--ledger", tmp_path / "ledger.sqlite").exit_code == 0


@pytest.mark.parametrize("orientation", [1, 6])
def test_images_that_exif_turns_are_released_upright(tmp_path: Path, orientation: int) -> None:
    public = schema(height=12)  # 12 high, 8 wide; stored lying where EXIF turns them
    stored = GREY.repeat(2, axis=0)[:12] if orientation == 1 else GREY.repeat(2, axis=1)[:, :12]
    exif = Image.Exif()
    exif[274] = orientation
    write(tmp_path, public)  # its .npz is not used
    for label in public.classes[:2]:
        (tmp_path / "folder" / str(label)).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "folder" / str(label) / f"{k}.png").write_bytes(_png(stored, exif=exif))
    file = write(tmp_path, public, data={"path": "folder"}, holdout=0)
    made = shell("release", file, "--ledger", tmp_path / "ledger.sqlite")
    assert made.exit_code == 0, made.output
    assert np.load(tmp_path / "release" / "images.npz")["images"].shape[1:] == (12, 8)
    (tmp_path / "folder" / str(public.classes[0]) / "lying.png").write_bytes(_png(np.zeros((8, 12), np.uint8)))
    wrong = shell(
        "release",
        write(tmp_path, public, data={"path": "folder"}, holdout=0, output="other"),
        "--ledger",
        tmp_path / "ledger.sqlite",
    )
    assert wrong.exit_code == 2 and "1 image" in wrong.output, wrong.output


def test_image_settings_are_refused_for_tables(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "people.schema.yaml").write_text(yaml.safe_dump(table_schema().to_dict(), sort_keys=False))
    text = (tmp_path / "release.yaml").read_text().replace("bars.schema.yaml", "people.schema.yaml")
    (tmp_path / "release.yaml").write_text(text)
    made = shell("plan", tmp_path / "release.yaml")
    assert made.exit_code == 2 and "data.split is for images" in made.output


def test_schema_check_takes_images(tmp_path: Path) -> None:
    write(tmp_path)
    made = shell("schema", "check", tmp_path / "bars.schema.yaml", tmp_path / "bars.npz")
    assert made.exit_code == 0 and "every image of" in made.output, made.output


# --- attacked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [Unit(), PATIENT], ids=["image", "patient"])
def test_replay_on_neighbours_finds_nothing(tmp_path: Path, unit: Unit) -> None:
    job = Job.read(write(tmp_path, schema(unit=unit, rows=40)))
    program = attack.releasing(job)
    for pair in neighbours.pairs(job.schema, job.budget.adjacency, images=40):  # type: ignore[arg-type]
        if pair.name in ("added: white", "added: static", "added to two images"):
            found = replay(program, pair.left, pair.right)
            assert found.passed, f"{pair.name}: {'; '.join(map(str, found.divergences[:3]))}"
            assert found.tightest > 0.3


def test_a_planted_image_is_found_where_it_is_kept(tmp_path: Path) -> None:
    _, pattern = neighbours.planted(schema(), 5)
    assert neighbours.alike(pattern, np.stack([pattern, 255 - pattern, pattern // 2])) == 2
    np.savez_compressed(tmp_path / "kept.npz", x=pattern)
    (tmp_path / "kept.png").write_bytes(pictures._encoded(pattern))
    np.save(tmp_path / "float.npy", pattern / np.float32(255))
    found = attack.forensics.search_bytes({"here": tmp_path}, {"image": neighbours.forms(pattern)})
    assert {item.where.partition(" ")[0] for item in found} == {"here/kept.npz", "here/kept.png", "here/float.npy"}


@pytest.mark.slow
def test_an_audit_of_images_finds_nothing(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, schema(rows=40)))
    found = attack.audit(job, rows=30)
    assert not found.violated, [f for f in found.findings if f.outcome == "violation"]
    assert {finding.attack for finding in found.findings} >= {"replay", "two runs", "planted values"}
