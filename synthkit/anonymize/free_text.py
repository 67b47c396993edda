"""Free text, searched for what names people, by presidio (Microsoft, MIT); what is found gives way to a mark of its kind.

    FIND      patterns with check digits and words around them, a declared list of words, and names by a language model
              where one is declared. Without a model the pipeline is a blank one of spaCy, which splits words and no more
    REPLACE   what was found, overlaps joined, becomes ``<EMAIL_ADDRESS>``, or ``<EMAIL_ADDRESS:pseudonym>`` under a key
    AGAIN     until nothing is found but marks; a text in which something is still found after a few rounds gives way whole

There is no guarantee: what no pattern matches stays, and names in prose are found by a model alone, not all of them. What
can be promised is that the same search finds nothing more in what leaves, and that is checked before and after it leaves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthkit.documents import read_text
from synthkit.errors import DataError, JobError

EVERYWHERE = (
    "EMAIL_ADDRESS", "PHONE_NUMBER", "URL", "IP_ADDRESS", "MAC_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "CRYPTO", "UUID",
)  # fmt: skip
DATES, LISTED, WHOLE = "DATE_TIME", "LISTED", "REDACTED"
NAMED = ("PERSON", "LOCATION", "NRP", "ORGANIZATION")  # by a language model alone; NRP: nationality, religion, politics
STATEMENT = (
    "Searched for what is listed, by presidio. There is no guarantee: what no pattern matches stays, and names in prose are "
    "found by a language model alone, and not all of them. No k, l or t covers what was missed."
)
_LABELS = {
    "PERSON": "PERSON", "PER": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION", "LOCATION": "LOCATION",
    "NORP": "NRP", "ORG": "ORGANIZATION", "ORGANIZATION": "ORGANIZATION", "DATE": DATES, "TIME": DATES,
}  # fmt: skip
_IGNORED = (
    "MISC", "CARDINAL", "EVENT", "LANGUAGE", "LAW", "MONEY", "ORDINAL", "PERCENT", "PRODUCT", "QUANTITY", "WORK_OF_ART",
)  # fmt: skip
_MODEL = re.compile(r"[a-z]{2,3}_[a-z0-9_]{1,60}")
_KIND = re.compile(r"[A-Z][A-Z0-9_]{0,59}")
_ROUNDS = 5
_LONGEST = 1_000_000  # characters, spaCy's limit
_MOST_LISTED = 20_000
_INSTALL = "pip install 'synthkit[text]'"


@dataclass(frozen=True)
class Redaction:
    """What is looked for in which columns.

    Attributes:
        columns: of free text.
        countries: whose national numbers and phone numbers, by two letters.
        phones: countries whose phone numbers are looked for, too.
        dates: whether dates and times are looked for.
        language: of the texts, by two letters.
        model: a spaCy model that is installed, which finds names; None: none are found.
        patterns: by kind, a regular expression; letters of either case match.
        listed: a file of words that may not leave, one a line; None: none.
        certainty: in (0, 1]; what presidio is less sure of stays.
        pseudonyms: marks carry a pseudonym, so that equal ones are seen to be equal.
    """

    columns: tuple[str, ...]
    countries: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    dates: bool = False
    language: str = "en"
    model: str | None = None
    patterns: Mapping[str, str] = field(default_factory=dict)
    listed: Path | None = None
    certainty: float = 0.4
    pseudonyms: bool = False

    @classmethod
    def from_dict(cls, written: Mapping[str, Any], folder: Path) -> Redaction:
        """From the plain values of an anonymization file.

        Raises:
            JobError: a pattern, a model's name or a list that cannot be.
        """
        made = cls(
            columns=tuple(written["columns"]),
            countries=tuple(written["countries"]),
            phones=tuple(written.get("phones", ())),
            dates=written.get("dates", False),
            language=written.get("language", "en"),
            model=written.get("model"),
            patterns=written.get("patterns", {}),
            listed=folder / written["listed"] if "listed" in written else None,
            certainty=float(written.get("certainty", 0.4)),
            pseudonyms=written.get("replace", "kind") == "pseudonym",
        )
        made.check()
        return made

    def check(self) -> None:
        """Refuse what can be seen to be wrong without presidio.

        Raises:
            JobError: says what.
        """
        own = {*EVERYWHERE, *NAMED, DATES, LISTED, WHOLE}
        for kind, pattern in self.patterns.items():
            if not _KIND.fullmatch(kind) or kind in own:
                raise JobError(
                    f"redact.patterns: {kind!r} is no kind of your own: capital letters, digits and _, and none of "
                    f"{', '.join(sorted(own))}"
                )
            try:
                empty = re.compile(pattern).search("") is not None
            except re.error as problem:
                raise JobError(f"redact.patterns.{kind}: not a regular expression: {problem}") from None
            if empty:
                raise JobError(f"redact.patterns.{kind}: matches no characters at all; ask for one at least")
        if self.model is not None and not _MODEL.fullmatch(self.model):
            raise JobError(f"redact.model: {self.model!r} is no name of a spaCy model, such as en_core_web_sm")

    def to_dict(self) -> dict[str, Any]:
        """What may be told of it: all but the listed words."""
        return {
            "countries": list(self.countries),
            "phones": list(self.phones),
            "dates": self.dates,
            "language": self.language,
            "model": self.model,
            "patterns": dict(self.patterns),
            "listed": self.listed is not None,
            "certainty": self.certainty,
            "replace": "pseudonym" if self.pseudonyms else "kind",
        }

    def words(self) -> tuple[str, ...]:
        """The listed words.

        Raises:
            JobError: the file cannot be read, or lists none, or too many.
        """
        if self.listed is None:
            return ()
        lines = [line.strip() for line in read_text(self.listed, error=JobError).splitlines()]
        words = tuple(dict.fromkeys(line for line in lines if line))
        if not 0 < len(words) <= _MOST_LISTED:
            raise JobError(f"{self.listed}: {len(words)} words are listed; one a line, {_MOST_LISTED} at most")
        return words


Span = tuple[int, int, str]  # start, end, kind
Name = Callable[[str, str], str]  # a kind and what was found, to a pseudonym


class Finder:
    """Finds what names people in a text.

    Attributes:
        kinds: what is looked for, in order.
        versions: of the software, and of the model.
    """

    def __init__(self, redaction: Redaction, words: Sequence[str] = ()) -> None:
        """
        Args:
            redaction: what is looked for.
            words: listed ones.

        Raises:
            JobError: presidio or the model is not installed, or a country or the language is not known to it.
        """
        try:
            import presidio_analyzer as presidio
            import spacy
        except ImportError:
            raise JobError(f"free text is redacted by presidio, which is not installed: {_INSTALL}") from None
        self.versions = {name: metadata.version(name) for name in ("presidio-analyzer", "spacy")}
        if redaction.model is not None:
            self.versions[redaction.model] = _version(redaction.model)
        national = [*_national(redaction)]
        recognizers = [*_everywhere(redaction), *national]
        recognizers += [
            presidio.PatternRecognizer(
                kind, patterns=[presidio.Pattern(kind, pattern, 1.0)], supported_language=redaction.language
            )
            for kind, pattern in redaction.patterns.items()
        ]
        if words:
            recognizers.append(
                presidio.PatternRecognizer(LISTED, deny_list=list(words), supported_language=redaction.language)
            )
        kinds = [kind for recognizer in recognizers for kind in recognizer.supported_entities]
        if redaction.model is not None:
            recognizers.append(
                presidio.predefined_recognizers.SpacyRecognizer(
                    supported_language=redaction.language, supported_entities=[*NAMED, DATES]
                )
            )
            kinds += [*NAMED, *([DATES] if redaction.dates else [])]
        self.kinds = tuple(dict.fromkeys(kinds))
        self._language, self._certainty = redaction.language, redaction.certainty
        self._engine = presidio.AnalyzerEngine(
            registry=presidio.RecognizerRegistry(recognizers, supported_languages=[redaction.language]),
            nlp_engine=_engine(redaction, spacy),
            supported_languages=[redaction.language],
        )
        self._marks = marks((*self.kinds, WHOLE))

    def find(self, text: str) -> list[Span]:
        """What is found, overlaps joined; of the kind that presidio is surest of. Marks are text like any other."""
        found = self._engine.analyze(
            text, language=self._language, entities=list(self.kinds), score_threshold=self._certainty
        )
        best = sorted(found, key=lambda one: (-one.score, one.start - one.end, one.entity_type))
        rank = {id(one): place for place, one in enumerate(best)}
        joined: list[list[Any]] = []  # start, end, rank, kind
        for one in sorted(found, key=lambda one: (one.start, one.end)):
            if joined and one.start < joined[-1][1]:
                last = joined[-1]
                last[1] = max(last[1], one.end)
                if rank[id(one)] < last[2]:
                    last[2:] = rank[id(one)], one.entity_type
            else:
                joined.append([one.start, one.end, rank[id(one)], one.entity_type])
        return [(start, end, kind) for start, end, _, kind in joined]

    def left(self, text: str) -> list[Span]:
        """What is found in a redacted text: all that does not lie within a mark. A mark that is cut into is part of it."""
        marked = [match.span() for match in self._marks.finditer(text)]
        left = []
        for start, end, kind in self.find(text):
            if not any(low <= start and end <= high for low, high in marked):
                cut = [(low, high) for low, high in marked if low < end and start < high]
                left.append((min([start, *(low for low, _ in cut)]), max([end, *(high for _, high in cut)]), kind))
        return left

    def redacted(self, text: str, name: Name | None = None) -> str:
        """``text`` in which nothing is left to be found.

        Args:
            text: any.
            name: what becomes the pseudonym in a mark; None: marks have none.
        """
        text = _replaced(text, self.find(text), name)
        for _ in range(_ROUNDS):
            if not (left := self.left(text)):
                return text
            text = _replaced(text, left, name)
        return text if not self.left(text) else f"<{WHOLE}>"


def is_installed() -> bool:
    """Whether what this needs is there. Nothing of it is loaded."""
    return all(find_spec(name) is not None for name in ("presidio_analyzer", "spacy"))


def marks(kinds: Sequence[str]) -> re.Pattern[str]:
    """A pattern of the marks of these kinds."""
    return re.compile(rf"<({'|'.join(map(re.escape, kinds))})(?::[0-9a-f]{{32}})?>")


def counted(texts: pd.Series[Any], kinds: Sequence[str]) -> dict[str, int]:
    """How many marks of each kind stand in a column as it leaves; kinds without any are left out."""
    pattern, found = marks((*kinds, WHOLE)), Counter[str]()
    for text in texts.dropna():
        found.update(match[1] for match in pattern.finditer(str(text)))
    return dict(sorted(found.items()))


def redact(values: pd.Series[Any], finder: Finder, name: Name | None = None) -> pd.Series[Any]:
    """A column redacted, each distinct text once; null stays null.

    Raises:
        DataError: texts that are too long; says how many.
    """
    _refuse_long(values)
    codes, texts = pd.factorize(values)
    told = [*(finder.redacted(str(text), name) for text in texts), None]
    return pd.Series(np.array(told, object)[codes], index=values.index, name=values.name, dtype="string")


def unredacted(values: pd.Series[Any], finder: Finder) -> int:
    """In how many rows of a column something is found.

    Raises:
        DataError: texts that are too long; says how many.
    """
    _refuse_long(values)
    codes, texts = pd.factorize(values)
    found = np.array([*(bool(finder.left(str(text))) for text in texts), False], bool)
    return int(found[codes].sum())


def _refuse_long(values: pd.Series[Any]) -> None:
    if long := int((values.dropna().astype(str).str.len() > _LONGEST).sum()):
        raise DataError(
            f"column {values.name!r}: {long} texts have more than {_LONGEST} characters; split or drop them"
        )


def _replaced(text: str, spans: Sequence[Span], name: Name | None) -> str:
    parts, at = [], 0
    for start, end, kind in _apart(spans):
        parts += [text[at:start], f"<{kind}>" if name is None else f"<{kind}:{name(kind, text[start:end])}>"]
        at = end
    return "".join([*parts, text[at:]])


def _apart(spans: Sequence[Span]) -> Iterator[Span]:
    """Spans that overlap are one, of the first one's kind."""
    last: Span | None = None
    for start, end, kind in sorted(spans):
        if last is not None and start < last[1]:
            last = (last[0], max(last[1], end), last[2])
            continue
        if last is not None:
            yield last
        last = (start, end, kind)
    if last is not None:
        yield last


# What presidio is given ------------------------------------------------------------------------


def _everywhere(redaction: Redaction) -> Iterator[Any]:
    """Kinds that no country has to itself."""
    from phonenumbers import SUPPORTED_REGIONS
    from presidio_analyzer import PatternRecognizer
    from presidio_analyzer import predefined_recognizers as known

    on = {"supported_language": redaction.language}
    # Its own check of the domain asks the network for a list of them, and lets addresses inside a house pass.
    email = known.EmailRecognizer
    yield PatternRecognizer("EMAIL_ADDRESS", patterns=email.PATTERNS, context=email.CONTEXT, **on)
    countries = dict.fromkeys((*redaction.countries, *redaction.phones))
    regions = tuple({"uk": "GB"}.get(country, country.upper()) for country in countries)
    if unknown := [country for country in regions if country not in SUPPORTED_REGIONS]:
        raise JobError(
            f"redact: no phone numbers of {unknown[0].lower()!r} are known; countries are two letters, such as fr"
        )
    yield known.PhoneRecognizer(supported_regions=(*regions, None), **on)  # None: written with + and the country
    for recognizer in (
        known.UrlRecognizer, known.IpRecognizer, known.MacAddressRecognizer, known.CreditCardRecognizer,
        known.IbanRecognizer, known.CryptoRecognizer, known.UuidRecognizer,
    ):  # fmt: skip
        yield recognizer(**on)
    if redaction.dates:
        yield known.DateRecognizer(**on)


def _national(redaction: Redaction) -> Iterator[Any]:
    """Numbers that a country gives to people and houses.

    Raises:
        JobError: a country of which presidio knows none.
    """
    from presidio_analyzer import predefined_recognizers as known

    classes = [one for _, one in sorted(vars(known).items()) if isinstance(one, type)]
    by_country: dict[str, list[Any]] = {}
    for one in classes:
        if country := getattr(one, "COUNTRY_CODE", None):
            by_country.setdefault(country, []).append(one)
    for country in redaction.countries:
        if country not in by_country:
            raise JobError(
                f"redact.countries: no national numbers of {country!r} are known; known are {', '.join(sorted(by_country))} "
                "('patterns' takes your own, and 'phones' other countries' phone numbers)"
            )
        for recognizer in by_country[country]:
            yield recognizer(supported_language=redaction.language)


def _version(model: str) -> str:
    try:
        return metadata.version(model)
    except metadata.PackageNotFoundError:
        raise JobError(
            f"redact.model: the spaCy model {model} is not installed, and synthkit downloads none; install its package "
            "('python -m spacy download' does where the network allows it), or leave 'model' out: names are then not found"
        ) from None


def _engine(redaction: Redaction, spacy: Any) -> Any:
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine

    try:
        pipeline = spacy.blank(redaction.language) if redaction.model is None else spacy.load(redaction.model)
    except (ImportError, OSError, ValueError) as problem:
        what = f"language {redaction.language!r}" if redaction.model is None else f"model {redaction.model}"
        raise JobError(f"redact: spaCy cannot load the {what}: {str(problem).splitlines()[0]}") from None
    if pipeline.lang != redaction.language:
        raise JobError(
            f"redact.model: {redaction.model} is of language {pipeline.lang!r}; write 'language: {pipeline.lang}'"
        )
    if redaction.model is None:
        spacy.Language.component("synthkit_words", func=_words)
        pipeline.add_pipe("synthkit_words")
    settings = NerModelConfiguration(model_to_presidio_entity_mapping=_LABELS, labels_to_ignore=set(_IGNORED))
    models = [{"lang_code": redaction.language, "model_name": redaction.model or "blank"}]
    engine = SpacyNlpEngine(models=models, ner_model_configuration=settings)
    engine.nlp = {redaction.language: pipeline}  # its load() would download a model that is missing
    return engine


def _words(document: Any) -> Any:
    """Each word is its own lemma: presidio looks for words of context among lemmas, and a blank pipeline has none."""
    for token in document:
        token.lemma_ = token.lower_
    return document


__all__ = [
    "DATES",
    "EVERYWHERE",
    "LISTED",
    "NAMED",
    "STATEMENT",
    "WHOLE",
    "Finder",
    "Redaction",
    "counted",
    "is_installed",
    "marks",
    "redact",
    "unredacted",
]
