"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from synthkit.cli import main
from tests.release.test_job import write
from tests.tables import frame


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    frame().to_csv(tmp_path / "people.csv", index=False)
    return write(tmp_path, model=True)


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_help_has_a_runnable_example(path: tuple[str, ...]) -> None:
    shown = call(*path, "--help")
    assert shown.exit_code == 0
    example = shown.output.split("Example:")[1].strip().splitlines()[0].split()
    assert example[: len(path) + 1] == ["synthkit", *path]
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    command.make_context(path[-1], example[len(path) + 1 :], resilient_parsing=False)
    assert "--json" in shown.output


def test_release_verify_sample(ready: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    made = call("release", ready, "--ledger", ledger, "--json")
    assert made.exit_code == 0, made.output
    assert 0.99 < json.loads(made.output)["epsilon"] <= 1
    folder = tmp_path / "release"
    checked = call("verify", folder)
    assert checked.exit_code == 0 and "verified" in checked.output
    drawn = call("sample", folder, "--rows", "30", "--where", "sex=f", "--where", "ill=yes", "-o", tmp_path / "f.csv")
    assert drawn.exit_code == 0, drawn.output
    rows = pd.read_csv(tmp_path / "f.csv")
    assert len(rows) == 30 and set(rows["sex"]) == {"f"} and set(rows["ill"]) == {"yes"}
    assert call("sample", folder, "--rows", "30", "-o", tmp_path / "f.csv").exit_code == 2
    assert call("sample", folder, "--rows", "5", "-o", tmp_path / "f.parquet").exit_code == 0
    shown = call("ledger", "show", "--ledger", ledger, "--json")
    assert json.loads(shown.output)["datasets"][0]["dataset"] == "people"
    assert "whole" in call("ledger", "verify", "--ledger", ledger).output
    assert call("release", ready, "--ledger", ledger).exit_code == 2  # the output exists


def test_a_changed_bundle_exits_1(ready: Path, tmp_path: Path) -> None:
    assert call("release", ready, "--ledger", tmp_path / "l.sqlite").exit_code == 0
    with (tmp_path / "release" / "data.csv").open("a") as stream:
        stream.write("x")
    result = call("verify", tmp_path / "release", "--json")
    assert result.exit_code == 1
    assert "data.csv" in result.output


def test_plan_opens_no_data(tmp_path: Path) -> None:
    file = write(tmp_path)
    shown = call("plan", file)
    assert shown.exit_code == 0, shown.output
    assert "epsilon" in shown.output and "forecast" in shown.output and "parallel" in shown.output
    facts = json.loads(call("plan", file, "--json").output)
    assert 0.99 < facts["epsilon"] <= 1 and facts["seconds"] > 0 and facts["megabytes"] > 0


def test_plan_of_a_method_without_privacy(tmp_path: Path) -> None:
    shown = call("plan", write(tmp_path, method={"name": "sdv_baseline"}))
    assert shown.exit_code == 0 and "infinite" in shown.output


def test_schema_commands(tmp_path: Path) -> None:
    frame(60).to_csv(tmp_path / "people.csv", index=False)
    drafted = call("schema", "draft", tmp_path / "people.csv", "-o", tmp_path / "s.yaml")
    assert drafted.exit_code == 0, drafted.output
    assert "reviewed: false" in (tmp_path / "s.yaml").read_text()
    checked = call("schema", "check", tmp_path / "s.yaml", tmp_path / "people.csv")
    assert checked.exit_code == 0, checked.output
    assert "NOT reviewed" in checked.output
    assert call("schema", "to-sdv", tmp_path / "s.yaml", "-o", tmp_path / "m.json").exit_code == 0
    back = call("schema", "from-sdv", tmp_path / "m.json", "--data", tmp_path / "people.csv", "-o", tmp_path / "t.yaml")
    assert back.exit_code == 0, back.output
    assert call("schema", "check", tmp_path / "t.yaml").exit_code == 0
    assert (
        call("schema", "draft", tmp_path / "people.csv", "-o", tmp_path / "s.yaml").exit_code == 2
    )  # never overwritten


def test_schema_check_names_column_and_count(tmp_path: Path) -> None:
    file = write(tmp_path)
    frame().assign(sex="ZZTOP-91733").to_csv(tmp_path / "people.csv", index=False)
    result = call("schema", "check", file.parent / "people.schema.yaml", tmp_path / "people.csv")
    assert result.exit_code == 2
    assert "column sex" in result.output and "400 rows" in result.output and "ZZTOP" not in result.output


def test_methods_lists_settings() -> None:
    listed = json.loads(call("methods", "--json").output)
    assert set(listed) == {
        "aim",
        "auto",
        "mst",
        "tabular_gan",
        "tabular_vae",
        "independent",
        "sdv_baseline",
        "linked",
        "image_moments",
        "image_gan",
        "image_vae",
    }
    assert listed["tabular_gan"]["settings"]["iterations"] > 0


def test_a_cap_is_enforced(ready: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    assert call("ledger", "cap", "people", "--epsilon", "0.5", "--delta", "1e-6", "--ledger", ledger).exit_code == 0
    refused = call("release", ready, "--ledger", ledger)
    assert refused.exit_code == 1 and "people" in refused.output
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize(
    "arguments",
    [("release", "nowhere.yaml"), ("verify", "nowhere"), ("sample", "nowhere", "--rows", "1", "-o", "x.csv")],
)
def test_missing_files_are_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = call(*arguments)
    assert result.exit_code in (1, 2)
    assert "nowhere" in result.output and "Traceback" not in result.output


def test_importing_and_help_stay_light() -> None:
    heavy = ["torch", "opacus", "pandas", "numpy", "sqlalchemy", "sklearn", "dp_accounting", "pyarrow", "jinja2"]
    for statement in ("import synthkit", "import synthkit.cli"):
        code = f"{statement}, sys; print([m for m in {heavy!r} if m in sys.modules])"
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == "[]"


def test_public_names_are_true() -> None:
    import synthkit

    assert list(synthkit.__all__) == sorted(synthkit.__all__)
    for name in synthkit.__all__:
        assert getattr(synthkit, name) is not None
    assert set(synthkit._HOMES) | {"__version__"} == set(synthkit.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = synthkit.nothing
