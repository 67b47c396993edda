"""The documentation is true: commands parse, files are valid, links lead somewhere, examples run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import yaml

from synthkit.cli import main
from synthkit.data import constraints
from synthkit.data.image_files import NpzSource
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import read_images
from synthkit.data.schema import KINDS, Schema
from synthkit.data.tables import FileSource, check, read
from synthkit.documents import json_schema, parse_yaml, validate
from synthkit.errors import JobError, PolicyError
from synthkit.meanings import HOLDS
from synthkit.policy.cases import check_cases, read_cases
from synthkit.policy.decide import decide
from synthkit.policy.document import Policy
from synthkit.policy.facts import ACTIONS
from synthkit.policy.lint import warnings
from synthkit.policy.packs.checks import CHECKS, MARKS, STATED
from synthkit.policy.packs.document import NAMES as PACKS
from synthkit.policy.packs.document import Pack
from synthkit.policy.request import Request
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.release.job import LINKED, Job
from synthkit.release.run import price
from synthkit.synthesizers.base import METHODS, built, method, settings_of
from synthkit.synthesizers.linked import Linked

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples/README.md", ROOT / "policies/README.md"]
)
EXAMPLES = ROOT / "examples"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(*languages: str, pages: list[Path] = PAGES) -> list[Any]:
    """Every fenced block in one of ``languages``, as a parameter of a test."""
    found = []
    for page in pages:
        for number, (language, text) in enumerate(FENCE.findall(page.read_text("utf-8"))):
            if language in languages:
                found.append(pytest.param(text, id=f"{relative(page)}-{number}"))
    return found


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def parse(line: str) -> None:
    """Parse one command line as click would, without running it."""
    words = shlex.split(line, comments=True)
    assert words.pop(0) == "synthkit"
    command: click.Command = main
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    command.make_context(str(command.name), words)


def run(script: Path | str, *, cwd: Path, home: Path) -> str:
    """Run a script in a process of its own, away from the account's ledger."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SYNTHKIT_LEDGER": str(home / "ledger.sqlite"),
        "OMP_NUM_THREADS": "1",
    }
    arguments = [str(script)] if isinstance(script, Path) else ["-c", script]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COMMANDS = list(commands())
NAMES = [" ".join(path) for path, _ in COMMANDS]


# Commands


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_every_command_and_option_is_documented(path: tuple[str, ...], command: click.Command) -> None:
    sections = re.split(r"^## ", (ROOT / "docs/cli.md").read_text("utf-8"), flags=re.MULTILINE)
    section = [text for text in sections if text.partition("\n")[0] == f"synthkit {' '.join(path)}"]
    assert len(section) == 1, "one section for each command"
    assert f"synthkit {' '.join(path)}" in section[0].partition("\n")[2], "with an example"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for spelling in parameter.opts:
                assert f"`{spelling}`" in section[0], f"{spelling} is not documented"


def test_no_command_is_documented_that_is_not_there() -> None:
    headings = re.findall(r"^## synthkit (.+)$", (ROOT / "docs/cli.md").read_text("utf-8"), flags=re.MULTILINE)
    assert sorted(headings) == sorted(NAMES)


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=NAMES)
def test_every_help_holds_an_example_that_parses(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help is not None and "Example:" in command.help
    example = command.help.partition("Example:")[2].strip().splitlines()[0].strip()
    assert example.startswith(f"synthkit {' '.join(path)}")
    parse(example)


@pytest.mark.parametrize("text", blocks("sh", "console"))
def test_every_command_line_in_the_documentation_parses(text: str) -> None:
    for line in text.splitlines():
        if line.removeprefix("$ ").startswith("synthkit "):
            parse(line.removeprefix("$ "))


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|^|\$ )make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert named and named <= targets


# Files


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_yaml_block_is_valid(text: str) -> None:
    document = parse_yaml(text, source="documentation")
    if "pack" in document:
        Pack.parse(text, source="documentation")
    elif "roles" in document:
        assert warnings(Policy.parse(text, source="documentation")) == ()
    elif "cases" in document:
        validate(document, "policy/cases.v1.json", source="documentation", error=PolicyError)
    elif "budget" in document:
        check_release(document)
    elif "quasi_identifiers" in document:
        validate(document, "release/anonymize.v1.json", source="documentation", error=JobError)
    elif "version" in document:
        kind = ImageSchema if "classes" in document else Schema
        schema = kind.from_dict(document)
        assert kind.from_dict(schema.to_dict()) == schema
    else:  # columns alone
        named = {"version": 1, "name": "x", "rows": 100, "columns": {"other": {"kind": "boolean"}, **document}}
        assert Schema.from_dict(named).columns.keys() == {"other", *document}


def check_release(document: dict[str, Any]) -> None:
    validate(document, "release/job.v1.json", source="documentation", error=JobError)
    assert document["version"] == 1
    settings = dict(document.get("method", {"name": LINKED}))
    assert ("tables" in document) == (settings["name"] == LINKED)
    name = settings.pop("name")
    built(Linked, settings) if name == LINKED else method(name, settings)
    budget = document["budget"]
    Budget(budget["epsilon"], budget["delta"], budget.get("adjacency", Adjacency.ADD_OR_REMOVE))


@pytest.mark.parametrize(
    ("page", "schema", "keys"),
    [
        ("schema.md", "data/schema.v1.json", ["properties"]),
        ("images.md", "data/image_schema.v1.json", ["properties"]),
        ("release-file.md", "release/job.v1.json", ["properties"]),
        ("policy.md", "policy/policy.v1.json", ["properties"]),
        ("anonymize.md", "release/anonymize.v1.json", ["properties"]),
        *[
            ("anonymize.md", "release/anonymize.v1.json", ["$defs", kind, "properties"])
            for kind in ("hierarchy", "sensitive")
        ],
        *[("schema.md", "data/schema.v1.json", ["$defs", kind, "properties"]) for kind in KINDS],
    ],
)
def test_every_key_is_documented(page: str, schema: str, keys: list[str]) -> None:
    place: Any = json_schema(schema)
    for key in keys:
        place = place[key]
    text = (ROOT / "docs" / page).read_text("utf-8")
    if len(keys) > 1:
        text = next(part for part in re.split(r"^### ", text, flags=re.MULTILINE) if part.startswith(f"{keys[1]}\n"))
    for name in place:
        assert f"`{name}" in text or f"  {name}:" in text or f", `{name}`" in text, name


def test_every_word_of_a_rule_is_documented() -> None:
    text = (ROOT / "docs/policy.md").read_text("utf-8")
    rule = json_schema("policy/policy.v1.json")["$defs"]["rule"]["properties"]
    cases = json_schema("policy/cases.v1.json")["$defs"]["request"]["properties"]
    for name in [*rule, *rule["when"]["properties"], *rule["require"]["properties"], *cases, *ACTIONS]:
        assert f"`{name}`" in text, name
    states = ("pass", "fail", "not evaluated", "attested")
    assert all(f"| `{state}` |" in text for state in states)


def test_every_word_of_a_pack_is_documented() -> None:
    text = (ROOT / "docs/compliance.md").read_text("utf-8")
    rule = json_schema("policy/packs/packs.v1.json")["$defs"]["rule"]["properties"]
    roles = {role for name in PACKS for r in Pack.packaged(name).rules if r.human for role in r.human.roles}
    for name in [*PACKS, *HOLDS, *CHECKS, *STATED, *MARKS, *rule, *roles]:
        assert f"`{name}`" in text, name
    assert all(f"| `{name}` |" in text for name in [*PACKS, *CHECKS, "pass", "fail", "not evaluated", "attested"])


def test_the_page_on_policies_is_true(tmp_path: Path) -> None:
    text = (ROOT / "docs/policy.md").read_text("utf-8")
    example, cases = [body for language, body in FENCE.findall(text) if language == "yaml"]
    shown = next(body for language, body in FENCE.findall(text) if body.startswith("Denied"))
    (tmp_path / "cases.yaml").write_text(cases, encoding="utf-8")
    policy = Policy.parse(example, source="clinic.yaml")
    outcomes = check_cases(policy, read_cases(tmp_path / "cases.yaml"))
    assert [str(outcome) for outcome in outcomes if not outcome.passed] == []
    asked = Request(role="steward", action="release", dataset="clinic-visits-2025", purpose="research", epsilon=2.0,
                    delta=1e-6, unit="person", unit_column="id", rows=5000, spent=0.0, schema="reviewed")  # fmt: skip
    assert str(decide(policy, asked)) == shown.rstrip()


def test_every_kind_of_constraint_is_documented() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/schema.md").read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in sections if part.startswith("Constraints\n")]
    for name, kind in constraints.KINDS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", text, flags=re.MULTILINE)
        for setting in kind.__dataclass_fields__:
            assert f"`{setting}" in row or f"{setting}: " in text, f"{name}: {setting}"


def test_defaults_of_the_release_file_are_documented() -> None:
    text = (ROOT / "docs/release-file.md").read_text("utf-8")
    defaults = {name: entry.default for name, entry in Job.__dataclass_fields__.items()}
    assert f"| `holdout` | `{defaults['holdout']}` |" in text
    assert f"| `model` | `{str(defaults['model']).lower()}` |" in text


def test_methods_and_their_settings_are_documented() -> None:
    text = (ROOT / "docs/methods.md").read_text("utf-8")
    sections = {part.partition("\n")[0]: part for part in re.split(r"^## ", text, flags=re.MULTILINE)}
    for name in METHODS:
        defaults = settings_of(method(name))
        for setting in defaults:
            assert f"`{setting}" in sections[name], f"{name}: {setting}"
        table = dict(re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|", sections[name], flags=re.MULTILINE))
        assert {key: float(value) for key, value in table.items()} == {key: float(defaults[key]) for key in table}


def test_public_names_are_documented() -> None:
    import synthkit

    text = (ROOT / "docs/python.md").read_text("utf-8")
    assert [name for name in synthkit.__all__ if name != "__version__" and f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if page.is_relative_to(ROOT / "docs"):
            assert linked.is_relative_to(ROOT / "docs"), f"{target}: the site has no such page"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") for heading in headings}, target


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: Any) -> Iterator[str]:
        for value in entry if isinstance(entry, list) else entry.values():
            yield from [value] if isinstance(value, str) else pages(value)

    listed = sorted(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    assert listed == sorted(path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md"))


def test_no_page_loads_anything_from_elsewhere() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert settings["theme"]["font"] is False and settings["strict"] is True
    assert not {"extra_javascript", "extra_css", "repo_url"} & set(settings)
    for page in PAGES:
        assert not re.search(r"!\[[^]]*\]\(http|<img|<script", page.read_text("utf-8")), relative(page)


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs/images/report.png").stat().st_size < 250_000


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").glob("**/*.html"):
        loaded = re.findall(r"<(?:link|script|img)[^>]+(?:href|src)=\"?(https?://[^\s\">]+)", page.read_text("utf-8"))
        assert loaded == [], page.name


# Examples


def test_the_readme_shows_the_quickstart() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    (shown,) = [body for language, body in FENCE.findall(text) if language == "python"]
    assert shown == (EXAMPLES / "quickstart.py").read_text("utf-8")


def test_the_bundled_schema_is_copied() -> None:
    original = ROOT / "synthkit/data/adult/adult.schema.yaml"
    assert (EXAMPLES / "adult/adult.schema.yaml").read_bytes() == original.read_bytes()


def test_the_tutorial_shows_the_hospital() -> None:
    shown = [
        parse_yaml(text, source="tutorial")
        for language, text in FENCE.findall((ROOT / "docs/getting-started.md").read_text("utf-8"))
        if language == "yaml"
    ]
    schema = Schema.from_dict(shown[0])
    real = Schema.read(EXAMPLES / "hospital/visits.schema.yaml")
    assert list(schema.columns) == list(real.columns) and schema.unit == real.unit  # bins are left out there
    assert shown[1] == parse_yaml((EXAMPLES / "hospital/release.yaml").read_text("utf-8"), source="hospital")


@pytest.mark.parametrize("name", ["adult", "hospital", "clinic", "scans"])
def test_every_release_file_has_a_price(name: str) -> None:
    job = Job.read(EXAMPLES / name / "release.yaml")
    if name == "adult":
        check(job.source, job.schema)
    assert job.schema.reviewed
    if name != "adult":
        assert 0.99 * job.budget.epsilon < price(job).epsilon <= job.budget.epsilon


def test_the_signed_example_may_be_planned_and_nobody_sells_it() -> None:
    job = Job.read(EXAMPLES / "hospital/signed.yaml")
    assert 0.99 * job.budget.epsilon < price(job).epsilon <= job.budget.epsilon
    policy = job.asker.applied
    assert warnings(policy) == ()
    for purpose, allowed in (("registered-study", True), ("research", True), ("any", False), ("commercial", False)):
        asked = Request.under(job.budget, role="steward", action="release", dataset=job.dataset, purpose=purpose,
                              private=True, rows=job.schema.rows, total=2.0, schema="reviewed")  # fmt: skip
        assert decide(policy, asked).allowed == allowed


def test_hospital_rows_fit_the_schema_and_need_it(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "hospital/make_visits.py", tmp_path)
    run(tmp_path / "make_visits.py", cwd=tmp_path, home=tmp_path)
    schema = Schema.read(EXAMPLES / "hospital/visits.schema.yaml")
    read(FileSource(tmp_path / "visits.csv"), schema, dataset="visits")
    visits = pd.read_csv(tmp_path / "visits.csv")
    assert 0.8 < len(visits) / schema.rows < 1.25
    assert visits.groupby("person_id").size().max() > schema.unit.max_rows
    assert visits["temperature"].max() > 42 and "helipad" in set(visits["ward"])
    assert visits["temperature"].isna().any() and visits["follow_up"].isna().any()


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "quickstart.py", cwd=tmp_path, home=tmp_path)
    assert "spent on adult: epsilon 1.000" in printed
    assert not (tmp_path / "ledger.sqlite").exists(), "it keeps a ledger of its own"


def test_the_page_on_images_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs/images.md").read_text("utf-8")
    (script,) = [body for language, body in FENCE.findall(text) if language == "python"]
    printed = run(script, cwd=tmp_path, home=tmp_path)
    assert "mnist: about 5000 images, 28 x 28 grey, 10 classes, unit row" in printed


@pytest.mark.slow
def test_linked_tables_are_fitted(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "clinic/from_python.py", cwd=tmp_path, home=tmp_path)
    assert "spent on clinic-2024: epsilon 3.000" in printed


@pytest.mark.slow
def test_the_clinic_is_released(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "clinic", tmp_path / "clinic", ignore=shutil.ignore_patterns("*.csv", "release"))
    run(tmp_path / "clinic/make_tables.py", cwd=tmp_path, home=tmp_path)
    script = "from synthkit.cli import main; main()"
    released = run(script.replace("main()", "main(['release', 'clinic/release.yaml'])"), cwd=tmp_path, home=tmp_path)
    assert "10000 synthetic rows of patients" in released
    checked = run(script.replace("main()", "main(['verify', 'clinic/release'])"), cwd=tmp_path, home=tmp_path)
    assert "verified. epsilon" in checked
    patients, visits = (pd.read_parquet(tmp_path / f"clinic/release/{name}.parquet") for name in ("patients", "visits"))
    assert set(visits["patient"]) <= set(patients["patient"])


def test_true_records_of_the_clinic_are_anonymized(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "clinic", tmp_path / "clinic", ignore=shutil.ignore_patterns("*.csv", "release"))
    run(tmp_path / "clinic/make_tables.py", cwd=tmp_path, home=tmp_path)
    script = "from synthkit.cli import main; main({})"
    planned = run(script.format("['anonymize', 'clinic/anonymize.yaml', '--plan']"), cwd=tmp_path, home=tmp_path)
    assert "patient: identifier, named anew" in planned and not (tmp_path / "clinic/anonymized").exists()
    run(script.format("['anonymize', 'clinic/anonymize.yaml']"), cwd=tmp_path, home=tmp_path)
    checked = run(script.format("['verify', 'clinic/anonymized']"), cwd=tmp_path, home=tmp_path)
    assert "verified. 10000 true records of real people" in checked
    sizes = pd.read_parquet(tmp_path / "clinic/anonymized/data.parquet").groupby(["age", "sex"]).size()
    assert sizes.min() >= 10


@pytest.mark.slow
def test_the_hospital_is_released(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "hospital", tmp_path / "hospital")
    run(tmp_path / "hospital/make_visits.py", cwd=tmp_path, home=tmp_path)
    script = "from synthkit.cli import main; main()"
    released = run(script.replace("main()", "main(['release', 'hospital/release.yaml'])"), cwd=tmp_path, home=tmp_path)
    assert "5000 synthetic rows" in released
    checked = run(script.replace("main()", "main(['verify', 'hospital/release'])"), cwd=tmp_path, home=tmp_path)
    assert "verified. epsilon" in checked
    table = pd.read_parquet(tmp_path / "hospital/release/data.parquet")
    assert "person_id" not in table.columns and len(table) == 5000


@pytest.mark.slow
def test_the_hospital_signs(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    run(tmp_path / "examples/hospital/make_visits.py", cwd=tmp_path, home=tmp_path)
    text = (EXAMPLES / "README.md").read_text("utf-8")
    (shown,) = [body for language, body in FENCE.findall(text) if language == "sh" and "signed.held" in body]
    script = f"synthkit() {{ '{sys.executable}' -m synthkit.cli \"$@\"; }}\n{shown}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SYNTHKIT_LEDGER": str(tmp_path / "ledger.sqlite")}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "forbidden by" in done.stdout and "Must not leave" in done.stdout
    assert "data-protection-officer: approves, by dora" in done.stdout


@pytest.mark.slow
def test_the_python_page_runs(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "hospital", tmp_path / "hospital")
    run(tmp_path / "hospital/make_visits.py", cwd=tmp_path, home=tmp_path)
    text = (ROOT / "docs/python.md").read_text("utf-8")
    script = "\n".join(body for language, body in FENCE.findall(text) if language == "python")
    printed = run(script, cwd=tmp_path / "hospital", home=tmp_path)
    assert "above the cap" in printed
    (script,) = [
        b for language, b in FENCE.findall((ROOT / "docs/explain.md").read_text("utf-8")) if language == "python"
    ]
    assert "mostly by" in run(script, cwd=tmp_path / "hospital", home=tmp_path)
    assert (tmp_path / "hospital/visits.explanation/explanation.html").exists()


@pytest.mark.slow
def test_the_sketch_of_a_method_keeps_the_contract(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (sketch,) = [body for language, body in FENCE.findall(text) if language == "python"]
    (test,) = [body for language, body in FENCE.findall(text) if language == "text" and "MethodContract" in body]
    (line,) = [body for language, body in FENCE.findall(text) if language == "text" and "first_column:" in body]
    shutil.copytree(ROOT / "synthkit", tmp_path / "synthkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__", "test_*.py"))
    base = tmp_path / "synthkit/synthesizers/base.py"
    registry = "METHODS: Mapping[str, tuple[str, str]] = {\n"
    assert registry in base.read_text("utf-8")
    base.write_text(base.read_text("utf-8").replace(registry, registry + line), encoding="utf-8")
    (tmp_path / "synthkit/synthesizers/first_column.py").write_text(sketch, encoding="utf-8")
    (tmp_path / "tests/synthesizers/test_first_column.py").write_text(test, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"),
         "--rootdir", str(tmp_path), "-o", f"pythonpath={tmp_path}", "-m", "slow or not slow", "tests/synthesizers"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


def test_scans_fit_the_schema(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "scans/make_scans.py", tmp_path)
    run(tmp_path / "make_scans.py", cwd=tmp_path, home=tmp_path)
    job = Job.read(EXAMPLES / "scans/release.yaml")
    source = NpzSource(tmp_path / "scans.npz", split="train")
    read_images(source, job.schema, dataset="scans")  # type: ignore[arg-type]
    arrays = np.load(tmp_path / "scans.npz")
    assert 0.8 < len(arrays["train_images"]) / job.schema.rows < 1.25
    assert np.unique(arrays["train_units"], return_counts=True)[1].max() <= job.schema.unit.max_rows


def test_the_example_of_keys_is_real(tmp_path: Path) -> None:
    """As ``synthkit keys new`` prints entries."""
    from synthkit.release.sign import new_key, trusted

    (text,) = [
        text for language, text in FENCE.findall((ROOT / "docs/signing.md").read_text("utf-8")) if language == "toml"
    ]
    (tmp_path / "keys.toml").write_text(text)
    assert {key.name for key in trusted(tmp_path / "keys.toml").keys.values()} == {"dora", "house"}
    printed = new_key(tmp_path / "dora.key", "dora", ("data-protection-officer",))
    shape = [line.partition(" = ")[0] for line in printed.strip().splitlines()]
    assert shape == [line.partition(" = ")[0] for line in text.split("\n\n")[2].splitlines()]
