"""What is looked for in free text is not in what is left of it; what cannot be looked for is refused before data open."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from synthkit.anonymize import free_text
from synthkit.anonymize.free_text import Finder, Redaction, counted, redact, unredacted
from synthkit.anonymize.pseudonyms import Key
from synthkit.anonymize.route import _namer
from synthkit.errors import DataError, JobError

installed = pytest.mark.skipif(
    not free_text.is_installed(), reason="presidio is not installed: pip install 'synthkit[text]'"
)


def redaction(folder: Path = Path("."), **changes: Any) -> Redaction:
    return Redaction.from_dict({"columns": ["note"], "countries": ["us", "uk", "de"], **changes}, folder)


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder(redaction())


FOUND = [
    ("write to ann.b@example.org today", "EMAIL_ADDRESS", "ann.b@example.org"),
    ("write to ann@ward7.clinic.internal today", "EMAIL_ADDRESS", "ann@ward7.clinic.internal"),
    ("call (212) 555-0147 tonight", "PHONE_NUMBER", "(212) 555-0147"),
    ("call +49 30 901820 tonight", "PHONE_NUMBER", "+49 30 901820"),
    ("see https://example.org/p?id=7 there", "URL", "https://example.org/p?id=7"),
    ("from 192.168.0.17 at", "IP_ADDRESS", "192.168.0.17"),
    ("paid by 4111 1111 1111 1111 once", "CREDIT_CARD", "4111 1111 1111 1111"),
    ("to DE89 3704 0044 0532 0130 00 now", "IBAN_CODE", "DE89 3704 0044 0532 0130 00"),
    ("her ssn is 536-90-4399 by", "US_SSN", "536-90-4399"),
    ("NHS number 943 476 5919 is", "UK_NHS", "943 476 5919"),
]


@installed
@pytest.mark.parametrize(("text", "kind", "value"), FOUND)
def test_what_is_looked_for_gives_way_to_its_kind(finder: Finder, text: str, kind: str, value: str) -> None:
    before, after = text.split(value)
    assert finder.redacted(text) == f"{before}<{kind}>{after}"
    assert finder.left(text) and not finder.left(finder.redacted(text))


@installed
def test_names_in_prose_and_dates_stay_unless_they_are_asked_for(finder: Finder) -> None:
    text = "John Smith was seen on 2024-03-02 and is better."
    assert finder.redacted(text) == text
    assert Finder(redaction(dates=True)).redacted(text) == "John Smith was seen on <DATE_TIME> and is better."


@installed
def test_phone_numbers_of_other_countries_are_asked_for() -> None:
    text = "call 01 42 68 53 00 or +33 1 42 68 53 00"
    assert Finder(redaction(countries=[])).redacted(text) == "call 01 42 68 53 00 or <PHONE_NUMBER>"
    assert Finder(redaction(countries=[], phones=["fr"])).redacted(text) == "call <PHONE_NUMBER> or <PHONE_NUMBER>"


@installed
def test_nothing_asks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked the network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = Finder(redaction()).redacted(" ".join(text for text, *_ in FOUND))
    assert all(f"<{kind}>" in found for _, kind, _ in FOUND)


@installed
def test_patterns_and_listed_words_of_the_house(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("Smith\n\nAnna Müller\nSmith\nJ. (Joe) Doe\n", encoding="utf-8")
    asked = redaction(tmp_path, patterns={"WARD": r"\bW\d{3}\b"}, listed="staff.txt")
    assert asked.words() == ("Smith", "Anna Müller", "J. (Joe) Doe")
    finder = Finder(asked, asked.words())
    text = "dr smith, ANNA MÜLLER and J. (Joe) Doe of W123; the blacksmith stays"
    assert finder.redacted(text) == "dr <LISTED>, <LISTED> and <LISTED> of <WARD>; the blacksmith stays"
    assert {"WARD", "LISTED"} <= set(finder.kinds)
    assert "staff" not in str(asked.to_dict()) and "Smith" not in str(asked.to_dict())


@installed
@pytest.mark.parametrize("pattern", [r"[A-Z_]+", r".", r"<|>", r"\w+>? *", r"E"])
def test_a_pattern_that_finds_marks_leaves_nothing_to_be_found(pattern: str) -> None:
    finder = Finder(redaction(patterns={"MINE": pattern}))
    for text in ("Ann <ann@example.org> E", "<EMAIL_ADDRESS> x", "E" * 5, "<MINE", "<MINE:0123>"):
        assert not finder.left(finder.redacted(text)), finder.redacted(text)


@installed
def test_what_comes_to_light_by_what_was_taken_out_goes_too() -> None:
    finder = Finder(redaction(patterns={"WARD": r"W\d{3}", "WORD": r"\bsecret\b"}))
    assert finder.redacted("in W123secret") == "in <WARD><WORD>"


@installed
def test_a_mark_that_stands_in_the_source_hides_nothing(finder: Finder) -> None:
    texts = ["<EMAIL_ADDRESS:ann@example.org>", "<PHONE_NUMBER> 212-555-0147", "<US_SSN:536-90-4399>"]
    left = [finder.redacted(text) for text in texts]
    assert not any("ann@" in text or "0147" in text or "4399" in text for text in left), left


@installed
def test_overlaps_are_one(finder: Finder) -> None:
    """A URL within an address: nothing of either stays."""
    assert finder.redacted("x mailto:ann@www.example.org y").count("example") == 0


@installed
def test_a_column_is_redacted_and_counted(finder: Finder) -> None:
    notes = pd.Series(["a@b.org and c@d.org", None, "call 212-555-0147", "calm", "a@b.org and c@d.org"], name="note")
    told = redact(notes, finder)
    assert (
        told.tolist()[0] == "<EMAIL_ADDRESS> and <EMAIL_ADDRESS>"
        and told.isna().tolist() == [False, True] + [False] * 3
    )
    assert counted(told, finder.kinds) == {"EMAIL_ADDRESS": 4, "PHONE_NUMBER": 1}
    assert (unredacted(notes, finder), unredacted(told, finder)) == (3, 0)
    assert redact(pd.Series([None, None], dtype="string"), finder).isna().all()
    assert redact(pd.Series([2125550147, 5]), finder).tolist()[1] == "5"
    with pytest.raises(DataError, match="1 texts have more than 1000000 characters") as problem:
        redact(pd.Series(["secret " * 200_000], name="note"), finder)
    assert "secret" not in str(problem.value)


@installed
def test_pseudonyms_are_equal_where_what_they_stand_for_is(finder: Finder) -> None:
    keys = [Key("study", recipient, 1, bytes([n]) * 32) for n, recipient in enumerate(("lab", "mill"))]
    one, other = (redact(pd.Series(["a@b.org", "x a@b.org", "c@d.org"]), finder, _namer(key)) for key in keys)
    assert one[0] == one[1].removeprefix("x ") != one[2] and one[0] != other[0]
    assert one[0].startswith("<EMAIL_ADDRESS:") and counted(one, finder.kinds) == {"EMAIL_ADDRESS": 3}
    assert unredacted(one, finder) == 0


# A language model


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A spaCy pipeline as a package that is installed; it knows one name."""
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    rules = pipeline.add_pipe("entity_ruler")
    rules.add_patterns([{"label": "PERSON", "pattern": "John Smith"}, {"label": "DATE", "pattern": "yesterday"}])
    package = tmp_path / "en_tiny_names"
    package.mkdir()
    pipeline.to_disk(package / "data")
    (package / "__init__.py").write_text(
        "import spacy\nfrom pathlib import Path\n\n\ndef load(**overrides):\n"
        "    return spacy.load(Path(__file__).parent / 'data', **overrides)\n"
    )
    about = tmp_path / "en_tiny_names-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: en_tiny_names\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "en_tiny_names"


@installed
def test_a_model_that_is_declared_and_installed_finds_names(model: str) -> None:
    finder = Finder(redaction(model=model))
    assert finder.redacted("John Smith came yesterday.") == "<PERSON> came yesterday."
    assert finder.versions[model] == "1.2" and {"PERSON", "LOCATION"} <= set(finder.kinds)
    assert "DATE_TIME" not in finder.kinds
    dated = Finder(redaction(model=model, dates=True))
    assert dated.redacted("John Smith came yesterday.") == "<PERSON> came <DATE_TIME>."
    with pytest.raises(JobError, match="is of language 'en'; write 'language: en'"):
        Finder(redaction(model=model, language="de"))


# What cannot be


@installed
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"countries": ["us", "xx"]}, "no national numbers of 'xx' are known; known are au, ca, de"),
        ({"phones": ["zz"]}, "no phone numbers of 'zz' are known"),
        ({"language": "qq"}, "spaCy cannot load the language 'qq'"),
        ({"model": "en_core_web_none"}, "en_core_web_none is not installed, and synthkit downloads none"),
    ],
)
def test_what_presidio_does_not_know_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError, match=told):
        Finder(redaction(**changes))


def test_without_presidio_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(JobError, match=r"presidio, which is not installed: pip install 'synthkit\[text\]'"):
        Finder(redaction())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patterns": {"ward": "W"}}, "'ward' is no kind of your own"),
        ({"patterns": {"PERSON": "W"}}, "'PERSON' is no kind of your own"),
        ({"patterns": {"WARD": "("}}, "redact.patterns.WARD: not a regular expression"),
        ({"patterns": {"WARD": "W*"}}, "matches no characters at all"),
        ({"model": "../evil"}, "no name of a spaCy model"),
        ({"model": "os"}, "no name of a spaCy model"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_refused_without_presidio(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError, match=told):
        redaction(**changes)


def test_a_list_without_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(JobError, match="0 words are listed"):
        redaction(tmp_path, listed="empty.txt").words()
    with pytest.raises(JobError, match=r"none\.txt"):
        redaction(tmp_path, listed="none.txt").words()
