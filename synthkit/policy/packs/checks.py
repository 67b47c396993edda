"""What a machine can check for a pack, by name. Each check looks at a dossier and says what it found; what is missing never passes.

A check that cannot know says ``not evaluated``: a rule may then let a person answer. A check that says ``fail`` stands: no
statement outweighs what was found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthkit.meanings import HOLDS
from synthkit.policy.packs import identifiers
from synthkit.policy.packs.dossier import Carried, Dossier, Found

Check = Callable[..., Found]

GB_45438 = (
    "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2",
)  # fmt: skip
TRUE_RECORDS = "anonymized true records"  # the mark of a folder of them
_VALUES = "released values, schema"
_PRICE = "recomputed price"


# Columns ---------------------------------------------------------------------------------------


def no_identifiers(dossier: Dossier, *, of: str) -> Found:
    """No released column holds identifiers of this kind. Whether a keyed pseudonym is one, people say."""
    if found := identifiers.problems(dossier.columns, of):
        return Found("fail", "; ".join(found), _VALUES)
    keyed = [f"{column}: {column.keyed}" for column in dossier.columns if column.keyed is not None]
    if of == "other" and keyed:
        return Found("not evaluated", f"pseudonyms, each a code of one person: {'; '.join(keyed)}", _VALUES)
    return _if_known(dossier, f"in none of {_count(dossier.columns, 'column')}")


def ages(dossier: Dossier) -> Found:
    """No age above 89 but in one category of 90 or more."""
    if found := identifiers.too_old(dossier.columns):
        return Found("fail", "; ".join(found), _VALUES)
    return _if_known(dossier, f"no age above {identifiers.OLDEST}")


def zip3(dossier: Dossier, *, census: Sequence[str]) -> Found:
    """No three digits of a ZIP code of an area with 20,000 people or fewer."""
    found, seen = identifiers.small_areas(dossier.columns, census)
    applied = f"by the lists of {' and '.join(census)}"
    if found:
        return Found("fail", f"{'; '.join(found)} ({applied})", _VALUES)
    return _if_known(dossier, f"none of {', '.join(seen)}, {applied}" if seen else "no column of ZIP codes")


def no_hashes(dossier: Dossier) -> Found:
    """No value has the form of a hash: without a key, whoever has a list of names computes it again."""
    found = [
        f"{column}: {count} value{'s' if count > 1 else ''} of the form of a hash"
        for column in dossier.columns
        if column.text and column.keyed is None and (count := sum(map(identifiers.hashed, column.spellings)))
    ]
    if found:
        return Found("fail", "; ".join(found), _VALUES)
    if not dossier.columns:
        return Found("not evaluated", "no column was looked at", _VALUES)
    return Found("pass", f"in none of {_count(dossier.columns, 'column')}", _VALUES)


def inventory(dossier: Dossier) -> Found:
    """Every released column says what it holds, and none holds a direct identifier."""
    direct = [str(column) for column in dossier.columns if HOLDS.get(column.holds or "") == "direct"]
    if direct:
        return Found("fail", f"direct identifiers: {', '.join(direct)}", "schema")
    classes = [HOLDS[column.holds] for column in dossier.columns if column.holds is not None]
    told = ", ".join(f"{classes.count(kind)} {kind}" for kind in ("quasi", "sensitive", "other") if kind in classes)
    return _if_known(dossier, f"{told or 'none'} of {_count(dossier.columns, 'column')}")


def _if_known(dossier: Dossier, found: str) -> Found:
    """A pass, where everything that was looked at is known."""
    if not dossier.columns:
        return Found("not evaluated", "no column was looked at", _VALUES)
    if unknown := identifiers.unknown(dossier.columns):
        shown = ", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        return Found("not evaluated", f"nobody said what these hold ('holds' in the schema): {shown}", _VALUES)
    return Found("pass", found, _VALUES)


# True records ----------------------------------------------------------------------------------

ATTACKERS = ("prosecutor_highest", "prosecutor_average", "journalist_highest", "journalist_average", "marketer")
_NO_RECORDS = "nothing describes how records were anonymized"
_CLASSES = "classes, counted again; description"


def attacker(dossier: Dossier, *, figure: str, at_most: float) -> Found:
    """How right an attacker is about true records: the figure, and the limit that was set before, both at most this.

    A figure that happens to be low where nobody asked for it fails: the next table of the house would have another.
    """
    found = dossier.figure(f"risk.{figure}")
    if found is None or "description" not in dossier.facts:
        return Found("not evaluated", f"no figure risk.{figure} that anybody can count again", _CLASSES)
    if found.value > at_most:
        return Found("fail", f"right up to {_percent(found.value)}; at most {_percent(at_most)} may be", _CLASSES)
    limit = _limit(dossier.facts["description"], figure)
    if limit > at_most:
        return Found(
            "fail", f"right up to {_percent(found.value)}, and no limit of {_percent(at_most)} was set", _CLASSES
        )
    return Found("pass", f"right up to {_percent(found.value)}; the limit that was set is {_percent(limit)}", _CLASSES)


def _limit(description: Mapping[str, Any], figure: str) -> float:
    """The limit that was set for an attacker, by itself or by the size of classes that was asked for."""
    who, _, which = figure.partition("_")
    told = description["attackers"][who]
    sizes = [model["asked"]["k"] for model in description["models"] if "k" in model["asked"]]
    return float(min(told["limits"][which] if which else told["limit"], *(1 / size for size in sizes), 1.0))


def inference(dossier: Dossier, *, at_most: float) -> Found:
    """In no class of true records does a larger share have the same value of a column that is sensitive."""
    if "description" not in dossier.facts:
        return Found("not evaluated", _NO_RECORDS, _CLASSES)
    roles = {column["name"]: column["role"] for column in dossier.facts["description"]["columns"]}
    if bare := [str(c) for c in dossier.columns if HOLDS.get(c.holds or "") == "sensitive" and roles[c.name] == "kept"]:
        return Found("fail", f"sensitive, and no model bounds what a class tells: {', '.join(bare)}", _CLASSES)
    shares = {
        name: found.value
        for name, role in roles.items()
        if role == "sensitive" and (found := dossier.figure(f"anonymity.confidence.{name}")) is not None
    }
    if not shares:
        return Found("not evaluated", "no column is stated as sensitive", _CLASSES)
    told = ", ".join(f"{name} {_percent(share)}" for name, share in shares.items())
    if max(shares.values()) > at_most:
        return Found("fail", f"surest in one class: {told}; at most {_percent(at_most)} may be", _CLASSES)
    return _if_known(dossier, f"surest in one class: {told}")


def pseudonyms(dossier: Dossier) -> Found:
    """Every pseudonym was made under a key of one purpose and one recipient, and nobody else gets the records."""
    looked = "description, handling.recipients"
    if "description" not in dossier.facts:
        return Found("not evaluated", _NO_RECORDS, looked)
    described = [column for column in dossier.facts["description"]["columns"] if column["role"] == "pseudonym"]
    if without := [column["name"] for column in described if "key" not in column]:
        return Found("fail", f"no key is described for {', '.join(without)}", looked)
    if not described:
        return Found("pass", "there are none", looked)
    keys = {(c["key"]["purpose"], c["key"]["recipient"]) for c in described}
    told = ", ".join(f"purpose {purpose}, recipient {recipient}" for purpose, recipient in sorted(keys))
    stated = set(dossier.facts["handling"].get("recipients") or ())
    if not stated:
        return Found("not evaluated", f"keyed for {told}; the folder names no recipients to hold it against", looked)
    if stated != {recipient for _, recipient in keys}:
        return Found("fail", f"keyed for {told}, and the records go to {', '.join(sorted(stated))}", looked)
    return Found("pass", f"keyed for {told}", looked)


# The price -------------------------------------------------------------------------------------


def guarantee(dossier: Dossier) -> Found:
    """A finite epsilon, recomputed from the list of reads, is what the manifest states."""
    if dossier.epsilon is None:
        return Found("not evaluated", "epsilon was not recomputed", _PRICE)
    stated = dossier.facts.get("guarantee", {}).get("epsilon")
    if not math.isfinite(dossier.epsilon):
        return Found("fail", "no finite epsilon: nothing is guaranteed", _PRICE)
    if stated is None or not math.isclose(stated, dossier.epsilon, rel_tol=1e-6):
        return Found("fail", f"recomputed epsilon {dossier.epsilon:.6g}, and it states {stated}", _PRICE)
    return Found("pass", f"epsilon {_up(dossier.epsilon)}, recomputed from the list of reads", _PRICE)


def unit(dossier: Dossier) -> Found:
    """What is protected is a person with all their rows; whether a single row is one, a machine cannot know."""
    budget = dossier.facts.get("budget", {}).get("unit")
    schema_unit = dossier.facts.get("guarantee", {}).get("unit")
    if not isinstance(budget, Mapping) or "column" not in budget or not schema_unit:
        return Found("fail", "the unit of privacy is missing", "manifest: budget.unit")
    if budget["column"] is None:
        found = f"one {schema_unit} is protected; whether a person has one only, nobody said"
        return Found("not evaluated", found, "manifest: budget.unit")
    return Found("pass", f"all rows of one {schema_unit}", "manifest: budget.unit")


def bound(dossier: Dossier, *, accuracy: float) -> Found:
    """No attacker can tell whether a unit's data were used with more than this chance to be right.

    After a fair coin a guess is right at most (e^eps + delta) / (1 + e^eps) of the time (Kairouz, Oh and Viswanath 2015,
    arXiv:1311.0776). A bound above the limit proves nothing, neither way.
    """
    checked = guarantee(dossier)
    if checked.state != "pass" or dossier.epsilon is None:
        return checked
    delta = dossier.facts["guarantee"]["delta"]
    right = (1 + delta * math.exp(-dossier.epsilon)) / (1 + math.exp(-dossier.epsilon))
    told = f"an attacker who guesses whether one {dossier.facts['guarantee']['unit']} took part is right at most {_percent(right)} of the time"
    if right > accuracy:
        return Found("not evaluated", f"{told}: the bound is weaker than {_percent(accuracy)}", _PRICE)
    return Found("pass", f"{told}; the limit is {_percent(accuracy)}", _PRICE)


def risk(dossier: Dossier, *, figure: str, baseline: str, at_most: float) -> Found:
    """An attack's success, by the upper end of its interval, stays below a limit, and beats its baseline.

    An attack that does not beat its baseline was too weak to tell: no evidence, and no pass. Where both have an interval, the
    intervals must lie apart. An interval that holds both 0 and the limit tells neither.
    """
    attack, control = dossier.figure(figure), dossier.figure(baseline)
    looked = f"figures {figure} and {baseline}"
    if attack is None or control is None:
        missing = " and ".join(name for name, there in ((figure, attack), (baseline, control)) if there is None)
        return Found("not evaluated", f"no figure {missing} in the release", looked)
    ends = (attack.value, *(attack.interval or ()))
    if any(map(math.isnan, (*ends, control.value))):
        return Found("not evaluated", "the figure could not be computed", looked)
    apart = (attack.interval[0], control.interval[1]) if attack.interval and control.interval else None
    lower, beaten = apart or (attack.value, control.value)
    if lower <= beaten:
        return Found("not evaluated", "no evidence: the attack does not beat its baseline", looked)
    upper = max(ends)
    if attack.interval and attack.interval[0] <= 0 and attack.value <= at_most < upper:
        return Found("not evaluated", f"up to {upper:.3g}, and perhaps none: too noisy to tell", looked)
    if upper > at_most:
        return Found("fail", f"up to {upper:.3g}; at most {at_most:g} may be", looked)
    if attack.interval is None:
        return Found("not evaluated", "no interval is known, so nothing bounds the figure from above", looked)
    return Found("pass", f"at most {upper:.3g} ({attack.payment}), baseline {control.value:.3g}", looked)


# What is stated --------------------------------------------------------------------------------


def stated(dossier: Dossier, *, what: str) -> Found:
    """A fact stands in the manifest; see ``STATED``."""
    place, read = STATED[what]
    try:
        found = read(dossier.facts)
    except (KeyError, TypeError, IndexError):
        found = None
    if isinstance(found, Found):
        return found
    if not found:
        return Found("fail", f"{place} is not stated", f"manifest: {place}")
    return Found("pass", str(found), f"manifest: {place}")


def _charges(facts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (charge for part in facts["parts"] for charge in part["charges"])


def _mechanisms(facts: Mapping[str, Any]) -> str:
    names = sorted({charge["mechanism"] for charge in _charges(facts)})
    reads = sum(charge["count"] for charge in _charges(facts))
    return f"{reads} reads by {', '.join(names)}" if reads and all(names) else ""


def _bounds(facts: Mapping[str, Any]) -> str | Found:
    bounds = [charge["norm_bound"] for charge in _charges(facts)]
    if None in bounds:
        return Found("fail", "a read bounds nobody's contribution", "manifest: parts")
    return f"each of {len(bounds)} kinds of reads bounds what a unit contributes" if bounds else ""


def _composition(facts: Mapping[str, Any]) -> str:
    parts = facts["parts"]
    across = f", in parallel over {len(parts)} parts that share no unit" if len(parts) > 1 else ""
    return f"accountant {facts['guarantee']['accountant']}{across}" if parts else ""


def _sampling(facts: Mapping[str, Any]) -> str:
    def kinds(event: Mapping[str, Any]) -> Iterator[str]:
        yield event["kind"]
        for inner in [*event.get("events", ()), *([event["event"]] if "event" in event else ())]:
            yield from kinds(inner)

    found = {kind for charge in _charges(facts) for kind in kinds(charge["event"])}
    if not found:
        return ""
    return (
        "Poisson samples, drawn by independent coins"
        if "poisson-sampled" in found
        else "no amplification by sampling is claimed"
    )


def _randomness(facts: Mapping[str, Any]) -> str | Found:
    randomness = facts["randomness"]
    if randomness["seeded"]:
        return Found("fail", "somebody knows the seed of the noise", "manifest: randomness")
    return str(randomness["description"])


def _retention(facts: Mapping[str, Any]) -> str:
    return f"at most {facts['handling']['retention_days']} days"


def _adjacency(facts: Mapping[str, Any]) -> str:
    guaranteed, asked = facts["guarantee"]["adjacency"], facts["budget"]["adjacency"]
    return str(guaranteed) if guaranteed == asked else ""


def _policy(facts: Mapping[str, Any]) -> str | Found:
    policy = facts.get("policy")
    if policy is None or policy["packaged"]:
        return Found("fail", "no policy of the house decided", "manifest: policy")
    return f"{policy['name']}, sha256 {policy['sha256'][:12]}"


def _purpose(facts: Mapping[str, Any]) -> str | Found:
    purpose = facts["policy"]["for"]
    if purpose == "any":
        return Found("fail", "for any purpose: none is named", "manifest: policy.for")
    return str(purpose)


def _models(facts: Mapping[str, Any]) -> str:
    told = []
    for model in facts["description"]["models"]:
        on = f" of {model['sensitive']}" if model["sensitive"] else ""
        asked = ", ".join(f"{key} {value:g}" for key, value in model["asked"].items())
        told.append(f"{model['name']}{on}: asked {asked}, attained {model['attained']:.4g}")
    return "; ".join(told)


Reader = Callable[[Mapping[str, Any]], Any]
STATED: Mapping[str, tuple[str, Reader]] = {
    "epsilon": ("guarantee.epsilon", lambda facts: f"epsilon {_up(facts['guarantee']['epsilon'])}"),
    "delta": ("guarantee.delta", lambda facts: f"delta {facts['guarantee']['delta']:g}"),
    "variant": ("guarantee", lambda facts: "(epsilon, delta)-differential privacy" if facts["guarantee"]["private"] else ""),
    "adjacency": ("guarantee.adjacency", _adjacency),
    "mechanisms": ("parts", _mechanisms),
    "contribution-bounds": ("parts", _bounds),
    "composition": ("parts, guarantee.accountant", _composition),
    "sampling": ("parts", _sampling),
    "randomness": ("randomness", _randomness),
    "software": ("versions, code", lambda facts: f"synthkit {facts['versions']['synthkit']}, code sha256 {facts['code']['sha256'][:12]}"),
    "method": ("method", lambda facts: facts["method"]["name"]),
    "models": ("description.models", _models),
    "limits": ("not_covered", lambda facts: f"{len(facts['not_covered'])} limits of the guarantee are named" if facts["not_covered"] else ""),
    "recipients": ("handling.recipients", lambda facts: ", ".join(facts["handling"]["recipients"])),
    "retention": ("handling.retention_days", _retention),
    "producer": ("handling.producer", lambda facts: facts["handling"]["producer"]),
    "purpose": ("policy.for", _purpose),
    "policy": ("policy", _policy),
    "quality": ("evidence", lambda facts: f"{len(facts['evidence'])} figures, each free or charged" if facts["evidence"] else ""),
}  # fmt: skip


# Labels ----------------------------------------------------------------------------------------


def label(dossier: Dossier, *, mark: str) -> Found:
    """Everything that can carry a label carries this one; see ``MARKS``."""
    carriers = [entry for entry in dossier.labels if entry.able]
    looked = f"labels of {', '.join(entry.file for entry in carriers)}"
    if not carriers:
        return Found("not evaluated", "no file was looked at", "labels")
    carries = MARKS[mark]
    if without := [entry.file for entry in carriers if not carries(entry)]:
        return Found("fail", f"missing in {', '.join(without)}", looked)
    return Found("pass", f"in {', '.join(entry.file for entry in carriers)}", looked)


def provenance(dossier: Dossier) -> Found:
    """Every image carries provenance inside, e.g. C2PA."""
    images = [entry for entry in dossier.labels if entry.file.endswith(".png")]
    looked = "files of images"
    if not images:
        return Found("not evaluated", "no image was looked at", looked)
    if without := [entry.file for entry in images if not entry.provenance]:
        return Found("fail", f"{', '.join(without)}: no provenance inside", looked)
    return Found("pass", ", ".join(sorted({kind for entry in images for kind in entry.provenance})), looked)


def _well_formed(entry: Carried) -> bool:
    label = entry.aigc
    return label is not None and set(label) == set(GB_45438) and label["Label"] in ("1", "2", "3")


def claims_synthetic(entry: Carried) -> bool:
    """Whether a mark says, in whatever words, that data are synthetic."""
    return any("synthetic" in mark.casefold() for mark in entry.marks or ())


MARKS: Mapping[str, Callable[[Carried], bool]] = {
    "synthetic": lambda entry: "synthetic" in (entry.marks or ()),
    "true-records": lambda entry: (
        entry.aigc is None and (entry.marks or ())[:1] == (TRUE_RECORDS,) and not claims_synthetic(entry)
    ),
    "aigc": _well_formed,
    "aigc-generated": lambda entry: _well_formed(entry) and (entry.aigc or {})["Label"] == "1",
    "aigc-producer": lambda entry: _well_formed(entry) and bool((entry.aigc or {})["ContentProducer"].strip()),
    "aigc-number": lambda entry: _well_formed(entry) and bool((entry.aigc or {})["ProduceID"].strip()),
}


# Their names -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """What a check may be told.

    Attributes:
        kind: ``number``, ``word`` or ``words``.
        known: the words that mean something; empty: any.
    """

    kind: str
    known: tuple[str, ...] = ()


CHECKS: Mapping[str, tuple[Check, Mapping[str, Parameter]]] = {
    "no-identifiers": (no_identifiers, {"of": Parameter("word", tuple(identifiers.IDENTIFIERS))}),
    "ages": (ages, {}),
    "zip3": (zip3, {"census": Parameter("words", tuple(identifiers.zip3()))}),
    "no-hashes": (no_hashes, {}),
    "inventory": (inventory, {}),
    "attacker": (attacker, {"figure": Parameter("word", ATTACKERS), "at_most": Parameter("number")}),
    "inference": (inference, {"at_most": Parameter("number")}),
    "pseudonyms": (pseudonyms, {}),
    "guarantee": (guarantee, {}),
    "unit": (unit, {}),
    "bound": (bound, {"accuracy": Parameter("number")}),
    "risk": (
        risk,
        {"figure": Parameter("word"), "baseline": Parameter("word"), "at_most": Parameter("number")},
    ),
    "stated": (stated, {"what": Parameter("word", tuple(STATED))}),
    "label": (label, {"mark": Parameter("word", tuple(MARKS))}),
    "provenance": (provenance, {}),
}


def _count(things: Sequence[object], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _up(value: float) -> str:
    """Rounded up: what is printed is never below what holds."""
    return f"{math.ceil(value * 1e4 - 1e-7) / 1e4:g}"


def _percent(share: float) -> str:
    return f"{math.ceil(share * 1000 - 1e-9) / 10:g}%"


__all__ = ["CHECKS", "GB_45438", "MARKS", "STATED", "TRUE_RECORDS", "Parameter", "claims_synthetic"]
