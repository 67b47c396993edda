"""A pack: what one law, standard or guideline asks of a release, line by line, with the edition that it was written for.

A pack is no legal advice, and says so. An edition that this synthkit does not know is an error: what changed in a law is
read by people before a machine checks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from synthkit.documents import parse_yaml, read_text, validate, yaml_lines
from synthkit.errors import PolicyError
from synthkit.policy.names import trouble
from synthkit.policy.packs.checks import CHECKS, Parameter
from synthkit.policy.packs.dossier import Dossier, Found, What

VERSION = 1
NAMES = (
    "gdpr", "hipaa-safe-harbor", "hipaa-expert", "eu-ai-act-50", "china", "nist-sp-800-226", "nist-sp-800-188", "ico",
)  # fmt: skip
_FOLDER = "policy/packs"


@dataclass(frozen=True)
class Law:
    """A law, a standard or a guideline in one edition.

    Attributes:
        title: as people cite it.
        edition: which text of it.
        status: what is to be known of that text.
    """

    title: str
    edition: str
    status: str


@dataclass(frozen=True)
class Check:
    """A named check with what it is told."""

    name: str
    told: Mapping[str, Any]
    run: partial[Found] = field(repr=False, compare=False)

    def __call__(self, dossier: Dossier) -> Found:
        return self.run(dossier)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.told.items())])


@dataclass(frozen=True)
class Human:
    """What people answer for.

    Attributes:
        states: the name of the statement.
        roles: any of which may state it.
        at_least: how many different people.
        when: ``always``, or ``unknown``: only where the machine cannot know.
    """

    states: str
    roles: tuple[str, ...]
    at_least: int
    when: Literal["always", "unknown"]

    def __str__(self) -> str:
        people = f"{self.at_least} people" if self.at_least > 1 else "somebody"
        return f"{people} as {' or '.join(self.roles)}: {self.states}"


@dataclass(frozen=True)
class Rule:
    """One requirement.

    Attributes:
        name: its ``id``, within the pack.
        text: in own words.
        law, section: where it comes from.
        compared: with which text that citation was compared; None: no comparison is on record.
        applies: to what.
        machine: what a machine checks; may be empty.
        need: whether all of it must pass, or one. Where one fails, the rule fails.
        human: what people answer for, or None.
    """

    name: str
    text: str
    law: Law
    section: str
    applies: tuple[What, ...]
    machine: tuple[Check, ...]
    need: Literal["all", "any"]
    human: Human | None
    compared: str | None = None

    @property
    def source(self) -> str:
        """Where it comes from, as people cite it."""
        return f"{self.law.title}, {self.section}"

    @property
    def citation(self) -> str:
        """What is known of :attr:`source`: stands beside it wherever it is told."""
        if self.compared is None:
            return "no comparison of the citation with the primary text is on record"
        return f"citation compared with {self.compared}"

    @property
    def by(self) -> str:
        """Who checks it: ``machine``, ``human``, or both."""
        if not self.machine:
            return "human"
        if self.human is None:
            return "machine"
        return "machine and human" if self.human.when == "always" else "machine, else human"


@dataclass(frozen=True)
class Pack:
    """A pack that was read and found to be consistent.

    Attributes:
        name, title, about: for people.
        advice: that it is no legal advice.
        laws: those that its rules come from.
        rules: in the order of the file.
        source: the file, for messages.
    """

    name: str
    title: str
    about: str
    advice: str
    laws: Mapping[str, Law]
    rules: tuple[Rule, ...]
    source: str

    @classmethod
    def packaged(cls, name: str) -> Pack:
        """One of ``NAMES``.

        Raises:
            PolicyError: there is none of that name.
        """
        if name not in NAMES:
            close = get_close_matches(name, NAMES, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(NAMES)}"
            raise PolicyError(f"no pack {name!r}; {hint} (or name a file that ends in .yaml)")
        source = f"{_FOLDER}/{name}.yaml"
        return cls.parse(resources.files("synthkit").joinpath(source).read_text("utf-8"), source=source)

    @classmethod
    def read(cls, path: str | Path) -> Pack:
        """Read a pack of the house.

        Raises:
            PolicyError: unreadable, of another version, of an edition that is not known, or contradictory; says where.
        """
        return cls.parse(read_text(Path(path), error=PolicyError), source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str) -> Pack:
        """Read a pack from its text; see :meth:`read`."""
        document = parse_yaml(text, source=source, error=PolicyError)
        if document.get("version") != VERSION or isinstance(document.get("version"), bool):
            raise PolicyError(
                f"{source}: version is {document.get('version')!r}; this synthkit reads version {VERSION} (write 'version: 1')"
            )
        validate(document, f"{_FOLDER}/packs.v1.json", source=source, error=PolicyError)
        laws = {name: _law(name, edition, f"{source}: laws.{name}") for name, edition in document["laws"].items()}
        lines = yaml_lines(text)
        rules: dict[str, Rule] = {}
        for position, written in enumerate(document["rules"]):
            where = f"{source}:{lines['rules', position]}"
            if written["id"] in rules:
                raise PolicyError(f"{where}: a rule {written['id']!r} stands above already; names tell rules apart")
            rules[written["id"]] = _rule(written, laws, where)
        if unused := sorted(set(laws) - {written["law"] for written in document["rules"]}):
            raise PolicyError(f"{source}: laws: no rule comes from {', '.join(unused)}")
        return cls(
            name=document["pack"],
            title=document["title"],
            about=" ".join(document["about"].split()),
            advice=" ".join(document["advice"].split()),
            laws=laws,
            rules=tuple(rules.values()),
            source=source,
        )


@cache
def known_laws() -> Mapping[str, tuple[str, Mapping[str, str]]]:
    """By law, its title and the editions that packs may be of (``laws.yaml``), each with its status."""
    text = resources.files("synthkit").joinpath(f"{_FOLDER}/laws.yaml").read_text("utf-8")
    document = parse_yaml(text, source=f"{_FOLDER}/laws.yaml", error=PolicyError)
    return {name: (law["title"], law["editions"]) for name, law in document["laws"].items()}


def _law(name: str, edition: str, where: str) -> Law:
    known = known_laws()
    if name not in known:
        raise PolicyError(f"{where}: unknown law; known are {', '.join(known)}")
    title, editions = known[name]
    if edition not in editions:
        raise PolicyError(
            f"{where}: edition {edition!r} of {title} is not known to this synthkit, so nobody compared these rules with it; "
            f"known: {', '.join(map(repr, editions))}"
        )
    return Law(title, edition, editions[edition])


def _rule(written: Mapping[str, Any], laws: Mapping[str, Law], where: str) -> Rule:
    if written["law"] not in laws:
        raise PolicyError(f"{where}: law {written['law']!r} is not one of the pack's laws: {', '.join(laws)}")
    machine = tuple(_check(entry, where) for entry in written.get("machine", ()))
    human = _human(written["human"], where) if "human" in written else None
    if human is not None and human.when == "unknown" and not machine:
        raise PolicyError(f"{where}: human.when is 'unknown', and there is no machine that could know; write 'always'")
    if "need" in written and len(machine) < 2:
        raise PolicyError(f"{where}: 'need' is about several checks, and there are {len(machine)}; leave it out")
    return Rule(
        name=written["id"],
        text=" ".join(written["text"].split()),
        law=laws[written["law"]],
        section=written["section"],
        compared=written.get("compared"),
        applies=tuple(written.get("applies", ("table", "images", "records"))),
        machine=machine,
        need=written.get("need", "all"),
        human=human,
    )


def _human(written: Mapping[str, Any], where: str) -> Human:
    for word in (written["states"], *written["as"]):
        if wrong := trouble(word):
            raise PolicyError(f"{where}: human: {word!r} {wrong}")
    return Human(written["states"], tuple(written["as"]), written.get("at_least", 1), written["when"])


def _check(written: Mapping[str, Any], where: str) -> Check:
    name = written["check"]
    if name not in CHECKS:
        close = get_close_matches(name, CHECKS, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(CHECKS)}"
        raise PolicyError(f"{where}: unknown check {name!r}; {hint}")
    run, parameters = CHECKS[name]
    told = {key: value for key, value in written.items() if key != "check"}
    if set(told) != set(parameters):
        wanted = ", ".join(parameters) or "nothing"
        raise PolicyError(f"{where}: check {name} is told {', '.join(told) or 'nothing'}; it must be told {wanted}")
    for key, value in told.items():
        for problem in _misfits(value, parameters[key]):
            raise PolicyError(f"{where}: check {name}: {key}: {problem}")
    return Check(name, told, partial(run, **told))


def _misfits(value: Any, parameter: Parameter) -> Iterator[str]:
    if parameter.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            yield f"{value!r} must be a number above 0 and at most 1"
        return
    words = value if parameter.kind == "words" else [value]
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        yield f"must be {'a list of words' if parameter.kind == 'words' else 'a word'}"
        return
    for word in words:
        if parameter.known and word not in parameter.known:
            yield f"{word!r} is not known; known are {', '.join(parameter.known)}"


__all__ = ["NAMES", "Check", "Human", "Law", "Pack", "Rule", "known_laws"]
