"""A policy as people write it: roles, purposes as a tree, datasets, rules. Read strictly, or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from synthkit.documents import parse_yaml, read_text, validate, yaml_lines
from synthkit.errors import PolicyError
from synthkit.policy.demands import (
    APPROVES,
    Attempts,
    Check,
    Demand,
    Labels,
    Recipients,
    Retention,
    Signatures,
    Statement,
)
from synthkit.policy.facts import ACTIONS, EXACT, KINDS, LARGEST, LEAVING, PRICED, Condition, Effect, Number, Relation
from synthkit.policy.names import folded, trouble
from synthkit.policy.request import ANY

VERSION = 1
PACKAGED = "synthkit/policy/default.yaml"
_DEEPEST = 16  # levels of purposes
_AMOUNT = r"([0-9]{1,40}(?:\.[0-9]{1,40})?(?:e-?[0-9]{1,3})?)"


@dataclass(frozen=True)
class Rule:
    """One rule. ``roles``, ``actions``, ``datasets`` and ``purposes`` are declared names; ``any`` is spelled out.

    Attributes:
        effect: whether it allows or forbids.
        name: what people call it.
        because: why; may be empty.
        roles, actions: for whom, and what.
        datasets: groups of datasets; None: any.
        purposes: for which, as written.
        reach: every purpose that it speaks about. To allow: with all below them. To forbid: also with all above
            them, for to ask for a purpose is to ask for its parts.
        when: conditions; all must hold. To forbid, what is not known holds.
        require: what a release by this rule needs.
        where: ``file:line``.
    """

    effect: Effect
    name: str
    because: str
    roles: tuple[str, ...]
    actions: tuple[str, ...]
    datasets: tuple[str, ...] | None
    purposes: tuple[str, ...]
    reach: frozenset[str]
    when: tuple[Condition, ...]
    require: tuple[Demand, ...]
    where: str

    def __str__(self) -> str:
        return f"{self.where} ({self.name})"


@dataclass(frozen=True, eq=False)
class Policy:
    """A policy that was read and found to be consistent.

    Attributes:
        name, about: for people.
        roles: by name, what the role is.
        parents: by purpose, the one that it is part of; of the root, ``any``, None.
        datasets: by name, patterns of the ledger's names.
        rules: in the order of the file.
        source: the file, for messages.
        digest: SHA-256 of the file's text, in hexadecimal.
        path: the file, or None where there is none.
    """

    name: str
    about: str
    roles: Mapping[str, str]
    parents: Mapping[str, str | None]
    datasets: Mapping[str, tuple[str, ...]]
    rules: tuple[Rule, ...]
    source: str
    digest: str
    path: Path | None = field(default=None, repr=False)

    @classmethod
    def read(cls, path: str | Path) -> Policy:
        """Read a policy file.

        Raises:
            PolicyError: unreadable, of another version, or contradictory; says where.
        """
        return cls.parse(read_text(Path(path), error=PolicyError), source=str(path), path=Path(path))

    @classmethod
    def default(cls) -> Policy:
        """The packaged policy, which applies where none is named."""
        text = resources.files("synthkit").joinpath("policy/default.yaml").read_text("utf-8")
        return cls.parse(text, source=PACKAGED)

    @classmethod
    def parse(cls, text: str, *, source: str, path: Path | None = None) -> Policy:
        """Read a policy from its text; see :meth:`read`."""
        document = parse_yaml(text, source=source, error=PolicyError)
        if document.get("version") != VERSION or isinstance(document.get("version"), bool):
            raise PolicyError(
                f"{source}: version is {document.get('version')!r}; this synthkit reads version {VERSION} (write 'version: 1')"
            )
        parents = _tree(document.get("purposes"), source)
        validate(document, "policy/policy.v1.json", source=source, error=PolicyError)
        _check_names(document["roles"], f"{source}: roles")
        _check_names(document["datasets"], f"{source}: datasets")
        datasets = {name: _words(patterns) for name, patterns in document["datasets"].items()}
        for name, patterns in datasets.items():
            for pattern in patterns:
                if wrong := trouble(pattern.replace("*", "x"), symbols=None):
                    raise PolicyError(f"{source}: datasets.{name}: {pattern!r} {wrong}")
        lines = yaml_lines(text)
        declared = _Declared(tuple(document["roles"]), tuple(datasets), parents)
        rules = tuple(
            _rule(rule, declared, f"{source}:{lines['rules', position]}", position + 1)
            for position, rule in enumerate(document["rules"])
        )
        return cls(
            name=document["name"],
            about=document.get("about", ""),
            roles={name: about or "" for name, about in document["roles"].items()},
            parents=parents,
            datasets=datasets,
            rules=rules,
            source=source,
            digest=hashlib.sha256(text.encode()).hexdigest(),
            path=path,
        )

    def reread(self) -> Policy:
        """The policy as its file says it now; it may have been edited.

        Raises:
            PolicyError: as :meth:`read`.
        """
        if self.path is None:
            return self
        return Policy.parse(read_text(self.path, error=PolicyError), source=self.source, path=self.path)


@dataclass(frozen=True)
class _Declared:
    roles: tuple[str, ...]
    datasets: tuple[str, ...]
    parents: Mapping[str, str | None]


# The tree, and names ---------------------------------------------------------------------------


def _tree(tree: Any, source: str) -> dict[str, str | None]:
    """By purpose its parent; walked by hand, before the schema does, which cannot stand deep nesting."""
    parents: dict[str, str | None] = {ANY: None}
    waiting: list[tuple[Any, tuple[str, ...]]] = [(tree, ())]
    while waiting:
        below, path = waiting.pop()
        if below is None:
            continue
        if not isinstance(below, dict):
            place = ".".join(("purposes", *path))
            raise PolicyError(f"{source}: {place}: write purposes as a tree of names, each followed by a colon")
        if len(path) >= _DEEPEST:
            raise PolicyError(f"{source}: purposes: more than {_DEEPEST} levels")
        for name, lower in below.items():
            if name in path:
                circle = " > ".join((*path[path.index(name) :], name))
                raise PolicyError(f"{source}: purposes: {circle} is a circle; a purpose cannot be part of itself")
            if name in parents and name != ANY:
                raise PolicyError(f"{source}: purposes: {name} stands in two places; name one of them otherwise")
            parents[name] = path[-1] if path else ANY
            waiting.append((lower, (*path, name)))
        _check_names(below, f"{source}: purposes")
    _check_names((name for name in parents if name != ANY), f"{source}: purposes")
    return parents


def lineage(purpose: str, parents: Mapping[str, str | None]) -> Iterator[str]:
    """A declared purpose and all that it is part of, up to ``any``."""
    upper: str | None = purpose
    while upper is not None:
        yield upper
        upper = parents[upper]


def _reach(purposes: Sequence[str], effect: Effect, parents: Mapping[str, str | None]) -> Iterator[str]:
    yield from (purpose for purpose in parents if not set(purposes).isdisjoint(lineage(purpose, parents)))
    if effect == "forbid":
        for purpose in purposes:
            yield from lineage(purpose, parents)


def _check_names(names: Iterable[str], where: str) -> None:
    """Refuse names that are malformed, or that somebody could take for each other."""
    seen: dict[str, str] = {folded(ANY): ANY}
    for name in names:
        if wrong := trouble(name):
            raise PolicyError(f"{where}: {name!r} {wrong}")
        if name == ANY:
            raise PolicyError(f"{where}: 'any' stands for all of them and cannot be declared")
        if folded(name) in seen:
            raise PolicyError(
                f"{where}: {name!r} and {seen[folded(name)]!r} are easily taken for each other; rename one"
            )
        seen[folded(name)] = name


def _words(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _chosen(value: Any, known: Sequence[str], what: str, where: str) -> tuple[str, ...]:
    """Declared names; ``any`` is all of them."""
    words = _words(value)
    if words == (ANY,):
        return tuple(known)
    for word in words:
        if word == ANY:
            raise PolicyError(f"{where}: 'any' stands alone, not beside other {what}s")
        if word not in known:
            close = get_close_matches(word, known, 1)
            meant = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
            raise PolicyError(f"{where}: unknown {what} {word!r}{meant}")
    if len(set(words)) < len(words):
        raise PolicyError(f"{where}: a {what} is named twice")
    return words


# Rules -----------------------------------------------------------------------------------------


def _rule(written: Mapping[str, Any], declared: _Declared, where: str, number: int) -> Rule:
    effects: list[Effect] = [effect for effect in ("allow", "forbid") if effect in written]
    if len(effects) != 1:
        raise PolicyError(f"{where}: a rule says either 'allow: ROLE' or 'forbid: ROLE'")
    (effect,) = effects
    actions = _chosen(written["to"], ACTIONS, "action", where)
    when = tuple(
        _condition(fact, value, effect, f"{where}: when.{fact}") for fact, value in written.get("when", {}).items()
    )
    if when and (priceless := [action for action in actions if action not in PRICED]):
        raise PolicyError(
            f"{where}: 'when' asks about a price, and {', '.join(priceless)} {'have' if len(priceless) > 1 else 'has'} none; "
            "write a rule of its own for that, without 'when'"
        )
    require = tuple(_demands(written.get("require", {}), declared, where))
    if require and effect == "forbid":
        raise PolicyError(f"{where}: a rule that forbids cannot require anything; put it into a rule that allows")
    if require and not LEAVING & set(actions):
        raise PolicyError(
            f"{where}: 'require' is about what leaves; the rule allows none of release, export and anonymize"
        )
    groups = None if _words(written["on"]) == (ANY,) else _chosen(written["on"], declared.datasets, "dataset", where)
    purposes = (
        (ANY,)
        if _words(written["for"]) == (ANY,)
        else _chosen(written["for"], tuple(declared.parents), "purpose", where)
    )
    return Rule(
        effect=effect,
        name=written.get("name", f"rule {number}"),
        because=written.get("because", ""),
        roles=_chosen(written[effect], declared.roles, "role", where),
        actions=actions,
        datasets=groups,
        purposes=purposes,
        reach=frozenset(_reach(purposes, effect, declared.parents)),
        when=when,
        require=require,
        where=where,
    )


def _condition(fact: str, value: Any, effect: Effect, where: str) -> Condition:
    kind = KINDS[fact]
    if isinstance(kind, Number):
        relation: Relation = kind.good if effect == "allow" else kind.bad
        amount = EXACT.multiply(_amount(value, relation, where), kind.units)
        if amount != int(amount):
            raise PolicyError(f"{where}: {value!r} is finer than is counted (1/{kind.units}); round it")
        if not 0 <= amount < LARGEST:
            raise PolicyError(f"{where}: {value!r} is too large to limit anything")
        # "at least" and "above" share a comparison: x >= n is x > n - 1 among whole numbers.
        limit = int(amount) - 1 if relation in ("at least", "below") else int(amount)
        return Condition(fact, relation, limit, frozenset(), str(value))
    known = kind.good if effect == "allow" else kind.bad
    if known is None:
        words = frozenset(_texts(value, where))
        return Condition(fact, "is", 0, words, " or ".join(sorted(words)))
    if not isinstance(value, str) or value not in known:
        expected = " or ".join(map(repr, known)) if known else f"nothing: no rule can {effect} by it"
        raise PolicyError(f"{where}: {value!r} has no meaning where a rule {effect}s; write {expected}")
    return Condition(fact, "is", 0, known[value], value)


def _amount(value: Any, relation: str, where: str, *, after: str = "") -> Decimal:
    """The number in e.g. ``at most 1.5``, exactly as written."""
    found = re.fullmatch(f"{relation} {_AMOUNT}{after}", value) if isinstance(value, str) else None
    if not found:
        raise PolicyError(f"{where}: {value!r} is not understood; write '{relation} NUMBER{after}'")
    return Decimal(found[1])


def _demands(written: Mapping[str, Any], declared: _Declared, where: str) -> Iterator[Demand]:
    where = f"{where}: require"
    for name, value in written.get("checks", {}).items():
        if wrong := trouble(name):
            raise PolicyError(f"{where}.checks: {name!r} {wrong}")
        yield _check(name, value, f"{where}.checks.{name}")
    for signatures in written.get("signatures", ()):
        of = _chosen(signatures["of"], declared.roles, "role", f"{where}.signatures")
        yield Signatures(signatures["at_least"], of)
    _check_names(written.get("attest", {}), f"{where}.attest")
    for statement, role in written.get("attest", {}).items():
        if statement == APPROVES:
            raise PolicyError(f"{where}.attest: {APPROVES!r} is what a signature says; ask for it by 'signatures'")
        (by,) = _chosen(role, declared.roles, "role", f"{where}.attest") if role != ANY else ("",)
        if not by:
            raise PolicyError(f"{where}.attest.{statement}: name the role that answers for it")
        yield Statement(statement, by)
    readers: dict[str, Callable[[Any, str], Demand]] = {
        "retention": lambda value, place: Retention(_count(value, place, after=" days")),
        "recipients": lambda value, place: Recipients(_texts(value, place)),
        "labels": lambda value, place: Labels(_texts(value, place)),
        "attempts": lambda value, place: Attempts(_count(value, place)),
    }
    for key, reader in readers.items():
        if key in written:
            yield reader(written[key], f"{where}.{key}")


def _check(name: str, value: Any, where: str) -> Check:
    if value == "present":
        return Check(name, "present")
    for relation in ("at most", "at least"):
        if isinstance(value, str) and value.startswith(relation):
            return Check(name, relation, float(_amount(value, relation, where)))
    raise PolicyError(f"{where}: {value!r} is not understood; write 'at most X', 'at least X' or 'present'")


def _count(value: Any, where: str, *, after: str = "") -> int:
    amount = _amount(value, "at most", where, after=after)
    if amount != int(amount) or not 1 <= amount <= 10**6:
        raise PolicyError(f"{where}: {value!r} must be a whole number of 1 or more")
    return int(amount)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    words = tuple(value) if isinstance(value, list) else (value,)
    for word in words:
        if not isinstance(word, str) or trouble(word, symbols=None):
            wrong = trouble(word, symbols=None) if isinstance(word, str) else "is not text"
            raise PolicyError(f"{where}: {word!r} {wrong}")
    return words


__all__ = ["PACKAGED", "Policy", "Rule", "lineage"]
