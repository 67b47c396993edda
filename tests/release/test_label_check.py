"""What labels a file carries, and what was lost by a re-encoding."""

from __future__ import annotations

import html
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from synthkit.cli import main
from synthkit.errors import DataError, VerificationFailed
from synthkit.policy.packs.checks import GB_45438
from synthkit.privacy.ledger import Ledger
from synthkit.release.job import Job
from synthkit.release.label_check import check, read_labels
from synthkit.release.run import run
from tests.release.test_companions import HANDLING
from tests.release.test_job import write
from tests.tables import frame


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    frame().to_csv(folder / "people.csv", index=False)
    return run(Job.read(write(folder, handling=HANDLING, holdout=0)), Ledger(folder / "ledger.sqlite")).folder


def problems(path: Path, against: Path | None = None) -> list[str]:
    return [problem for entry in check(path, against=against) for problem in entry.problems]


def test_a_bundle_carries_all_its_labels(original: Path) -> None:
    found = {entry.carried.file: entry for entry in check(original)}
    assert set(found) == {"data.parquet", "data.csv", "label.json"} and problems(original) == []
    assert found["data.parquet"].carried.aigc is not None and set(found["data.parquet"].carried.aigc) == set(GB_45438)
    assert found["data.parquet"].carried.marks == ("synthetic", "draft")
    assert not found["data.csv"].carried.able and "label.json does" in found["data.csv"].note


def test_a_re_encoding_that_keeps_metadata_loses_nothing(original: Path, tmp_path: Path) -> None:
    table = pyarrow.parquet.read_table(original / "data.parquet")
    pyarrow.parquet.write_table(table.slice(0, 10), tmp_path / "part.parquet", compression="zstd")
    assert problems(tmp_path / "part.parquet", original) == []


def test_a_re_encoding_through_pandas_loses_the_label(original: Path, tmp_path: Path) -> None:
    pd.read_parquet(original / "data.parquet").to_parquet(tmp_path / "copy.parquet")
    lost = problems(tmp_path / "copy.parquet", original)
    assert len(lost) == 2 and lost[0].startswith("lost: the AIGC label") and lost[1].startswith("lost: the marks")
    assert problems(tmp_path / "copy.parquet")[0].startswith("missing: the AIGC label")


def test_a_csv_file_needs_its_sidecar(original: Path, tmp_path: Path) -> None:
    shutil.copy(original / "data.csv", tmp_path)
    assert "no label.json stands beside it" in problems(tmp_path / "data.csv", original)[0]
    shutil.copy(original / "label.json", tmp_path)
    assert problems(tmp_path / "data.csv", original) == [] == problems(tmp_path)


def relabelled(original: Path, path: Path, **changes: Any) -> Path:
    document = json.loads((original / "label.json").read_bytes())
    document["AIGC"] |= {name: value for name, value in changes.items() if value is not None}
    for name in [name for name, value in changes.items() if value is None]:
        del document["AIGC"][name]
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ContentProducer": "Somebody"}, "changed: ContentProducer of the AIGC label is not the release's"),
        ({"ProduceID": "0"}, "changed: ProduceID"),
        ({"ReservedCode1": None}, "lost: fields of the AIGC label: ReservedCode1"),
        ({"Label": "4"}, "Label of AIGC is neither 1"),
        ({"Extra": ""}, "unknown fields in the AIGC label: Extra"),
    ],
)
def test_a_changed_label_is_noticed(original: Path, tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert any(
        told in problem for problem in problems(relabelled(original, tmp_path / "label.json", **changes), original)
    )


def test_whoever_passes_it_on_may_say_so(original: Path, tmp_path: Path) -> None:
    path = relabelled(original, tmp_path / "label.json", ContentPropagator="Archive", PropagateID="7")
    assert problems(path, original) == []


def test_a_lost_mark_is_named(original: Path, tmp_path: Path) -> None:
    document = json.loads((original / "label.json").read_bytes()) | {"labels": ["draft"]}
    (tmp_path / "label.json").write_text(json.dumps(document))
    assert problems(tmp_path / "label.json", original) == ["lost: the mark 'synthetic'"]
    assert problems(tmp_path / "label.json") == ["missing: the mark 'synthetic'"]


def test_a_bundle_is_held_against_its_own_manifest(original: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(original, tmp_path / "copy")
    pd.read_parquet(copy / "data.parquet").to_parquet(copy / "data.parquet")
    with pytest.raises(VerificationFailed, match=r"data\.parquet was changed"):
        check(copy)
    (copy / "manifest.json").unlink()
    assert [entry.carried.file for entry in check(copy) if entry.problems] == ["data.parquet"]


# Images


def picture(path: Path, aigc: dict[str, str] | None = None, c2pa: bytes | None = None) -> Path:
    info = PngInfo()
    if aigc is not None:
        text = html.escape(json.dumps(aigc), quote=True)
        info.add_itxt(
            "XML:com.adobe.xmp",
            f'<rdf:Description xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" TC260:AIGC="{text}"/>',
        )
    Image.new("L", (8, 8)).save(path, pnginfo=info)
    if c2pa is not None:
        content = path.read_bytes()
        chunk = struct.pack(">I", len(c2pa)) + b"caBX" + c2pa + struct.pack(">I", zlib.crc32(b"caBX" + c2pa))
        path.write_bytes(content[:33] + chunk + content[33:])  # behind IHDR
    return path


def test_images_say_what_they_carry(original: Path, tmp_path: Path) -> None:
    label = json.loads((original / "label.json").read_bytes())["AIGC"]
    assert read_labels(picture(tmp_path / "bare.png")).aigc is None
    carried = read_labels(picture(tmp_path / "labelled.png", label))
    assert carried.aigc == label and carried.marks == ("synthetic",) and carried.provenance == ()
    signed = read_labels(picture(tmp_path / "signed.png", c2pa=b"jumb c2pa trainedAlgorithmicMedia"))
    assert signed.provenance == ("C2PA",) and signed.marks == ("synthetic",)
    assert read_labels(picture(tmp_path / "photo.png", c2pa=b"jumb c2pa digitalCapture")).marks is None


def test_a_jpeg_copy_loses_what_it_carried(original: Path, tmp_path: Path) -> None:
    label = json.loads((original / "label.json").read_bytes())["AIGC"]
    with Image.open(picture(tmp_path / "labelled.png", label)) as image:
        image.save(tmp_path / "copy.jpg")
    assert "lost: the AIGC label" in problems(tmp_path / "copy.jpg", original)[0]


def test_images_that_carry_the_same_are_one_line(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png")
    (entry,) = check(tmp_path)
    assert entry.carried.file == f"{tmp_path.name}/*.png" and entry.note == "3 images" and entry.problems


# Bad input


def test_bad_input_is_told_apart(tmp_path: Path) -> None:
    for name, content, told in (
        ("a.parquet", b"PAR1", "is no intact Parquet file"),
        ("a.png", b"\x89PNG", "is no intact PNG or JPEG file"),
        ("a.json", b"{", "is damaged: it is not JSON"),
        ("b.json", b"{}", "is no label"),
        ("c.json", b'{"AIGC": {"Label": 1}}', "its fields must be texts"),
        ("d.json", b'{"AIGC": {}, "labels": "synthetic"}', "the marks are damaged"),
        ("a.docx", b"", r"not in \.docx"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=told):
            check(tmp_path / name)
    with pytest.raises(DataError, match="no such file or folder"):
        check(tmp_path / "nothing.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file that could carry a label"):
        check(tmp_path / "empty")
    table = pa.table({"a": [1]}, metadata={"AIGC": "{"})
    pyarrow.parquet.write_table(table, tmp_path / "damaged.parquet")
    with pytest.raises(DataError, match="AIGC is damaged"):
        check(tmp_path / "damaged.parquet")


def test_the_command_line(original: Path, tmp_path: Path) -> None:
    def command(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["label", "check", *map(str, words)])
        return done.exit_code, done.output

    code, told = command(original)
    assert code == 0 and "data.parquet: AIGC label 1, producer: Clinic of Xanten; marks: synthetic, draft" in told
    pd.read_parquet(original / "data.parquet").to_parquet(tmp_path / "copy.parquet")
    code, told = command(tmp_path / "copy.parquet", "--against", original)
    assert code == 1 and "lost: the AIGC label (GB 45438), with all its fields" in told
    code, told = command(tmp_path / "copy.parquet", "--json")
    assert code == 1 and json.loads(told)["lost"] is True
    assert command(tmp_path / "copy.parquet", "--against", tmp_path / "copy.parquet")[0] == 2
    assert command(tmp_path / "nothing.csv")[0] == 2
