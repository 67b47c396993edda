"""The 18 kinds of identifiers of 45 CFR 164.514(b)(2)(i): found by what a column says it holds, by its name, by its values.

What a column declares comes first. A column that declares nothing and is named like an identifier is taken for one. A value
that has the form of an identifier is one, whatever its column declares. No value is ever quoted: how many there are is said.
A pattern cannot know a name when it sees one: where a column does not say what it holds, nothing is known.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from synthkit.documents import parse_yaml
from synthkit.errors import PolicyError
from synthkit.policy.packs.dossier import Column

Looks = Callable[[str], bool]
OLDEST = 89  # older people share one category


@dataclass(frozen=True)
class Identifier:
    """One of the 18 kinds.

    Attributes:
        letter: its paragraph.
        holds: what a column of it declares.
        names: words of a column's name, one after the other, that give it away.
        looks: whether a text has its form; None: it has none.
    """

    letter: str
    holds: frozenset[str]
    names: tuple[str, ...]
    looks: Looks | None = None


def _pattern(expression: str, check: Callable[[str], bool] | None = None, flags: int = re.IGNORECASE) -> Looks:
    compiled = re.compile(expression, flags)

    def looks(text: str) -> bool:
        return any(check is None or check(match[0]) for match in compiled.finditer(text))

    return looks


def _any(*forms: Looks) -> Looks:
    return lambda text: any(looks(text) for looks in forms)


# Check digits ----------------------------------------------------------------------------------


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _iban(text: str) -> bool:
    """ISO 13616: modulo 97."""
    plain = re.sub(r"\s", "", text).upper()
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


_VIN = dict(zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", [*range(10), *range(1, 9), *range(1, 6), 7, 9, *range(2, 10)], strict=True))  # fmt: skip


def _vin(text: str) -> bool:
    """49 CFR 565.15(c): the ninth sign is a check digit."""
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum(weight * _VIN[sign] for weight, sign in zip(weights, text.upper(), strict=True))
    return text.upper()[8] == "0123456789X"[total % 11]


def _dea(text: str) -> bool:
    digits = [int(digit) for digit in text[2:]]
    return (sum(digits[0:5:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6]


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _ssn(text: str) -> bool:
    area, group, serial = re.split(r"[- ]", text)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


# The kinds -------------------------------------------------------------------------------------

_MONTHS = "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
_PHONE = r"(?<![\w.])(?:\+\d{1,3}[ ./-]?(?:\(?\d{1,5}\)?[ ./-]?){2,5}\d{2,}|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?!\w)"
_date = _any(
    _pattern(r"(?<!\d)(?:18|19|20)\d\d[-/.](?:0?[1-9]|1[0-2])(?:[-/.](?:0?[1-9]|[12]\d|3[01]))?(?![\d-])"),
    _pattern(r"(?<!\d)(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|[12]\d|3[01])[-/.](?:(?:18|19|20)\d\d|\d\d)(?!\d)"),
    _pattern(rf"\b(?:{_MONTHS})\.? (?:\d{{1,2}}(?:st|nd|rd|th)?,? )?(?:18|19|20)\d\d\b"),
    _pattern(rf"\b\d{{1,2}}\.? (?:{_MONTHS})\b"),
)

_uuid = _pattern(r"(?<!\w)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?!\w)")

IDENTIFIERS: Mapping[str, Identifier] = {
    "names": Identifier(
        "A",
        frozenset({"name"}),
        ("surname", "firstname", "first name", "lastname", "last name", "forename", "given name", "family name",
         "fullname", "full name", "maiden name", "middle name", "patient name", "person name", "client name",
         "customer name", "initials", "nachname", "vorname", "=name"),
        _pattern(r"\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau)\.? (?:[A-Z]\.? )?[A-Z][a-z]+", flags=0),
    ),
    "geography": Identifier(
        "B",
        frozenset({"place"}),
        ("zip", "zipcode", "postcode", "postal", "plz", "street", "address", "city", "town", "village", "county",
         "precinct", "borough", "geocode", "latitude", "longitude", "tract", "municipality"),
        _any(
            _pattern(r"\b\d{5}-\d{4}\b"),
            _pattern(r"\b[A-Z]{2} \d{5}\b", flags=0),
            _pattern(r"\b\d+[a-z]? (?:\w+ ){1,3}(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd)\b"),
            _pattern(r"\w(?:straße|strasse|str\.) \d+"),
            _pattern(r"(?<![\d.])-?\d{1,2}\.\d{3,}, ?-?\d{1,3}\.\d{3,}(?![\d.])"),
        ),
    ),
    "dates": Identifier(
        "C",
        frozenset({"date"}),
        ("date", "dob", "birthdate", "birthday", "timestamp", "datetime", "=born", "=admitted", "=discharged", "=died"),
        _date,
    ),
    "phones": Identifier("D", frozenset({"phone"}), ("phone", "telephone", "tel", "mobile", "cellphone", "telefon"),
                         _pattern(_PHONE)),
    "faxes": Identifier("E", frozenset({"fax"}), ("fax", "telefax"),
                        _pattern(r"\b(?:tele)?fax\b\D{0,3}[+(]?\d[\d ()./-]{5,}")),
    "emails": Identifier("F", frozenset({"email"}), ("email", "e mail", "mail"),
                         _pattern(r"(?<![\w.+%-])[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")),
    "social-security-numbers": Identifier("G", frozenset({"social-security-number"}), ("ssn", "social security", "sozialversicherung", "itin"),
                                          _pattern(r"(?<![\w-])\d{3}[- ]\d{2}[- ]\d{4}(?![\w-])", _ssn)),
    "medical-record-numbers": Identifier("H", frozenset({"medical-record-number"}), ("mrn", "medical record", "record number", "chart number", "patient number", "patient id", "case number"),
                                         _pattern(r"\b(?:MRN|med(?:ical)? ?rec(?:ord)?)[ #:.-]*(?:no\.? ?)?[A-Z]{0,3}\d{5,}")),
    "health-plan-numbers": Identifier("I", frozenset({"health-plan-number"}), ("health plan", "beneficiary", "member id", "member number", "medicare", "medicaid", "mbi", "insurance number", "policy number", "subscriber id"),
                                      _pattern(r"(?<!\w)[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d\d(?!\w)", flags=0)),
    "account-numbers": Identifier("J", frozenset({"account-number"}), ("account number", "account no", "account id", "iban", "card number", "credit card", "kontonummer"),
                                  _any(
                                      _pattern(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", _iban, 0),
                                      _pattern(r"(?<!\w)[3-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}(?!\w)", _luhn))),
    "licence-numbers": Identifier("K", frozenset({"licence-number"}), ("licence", "license", "certificate", "passport", "dea", "npi"),
                                  _any(
                                      _pattern(r"(?<!\w)[ABFGMPRX][A-Z9]\d{7}(?!\w)", _dea, 0),
                                      _pattern(r"\b(?:licen[cs]e|certificate|passport)\b[ #:.-]*(?:no\.? ?)?[A-Z]{0,3}\d{5,}"))),
    "vehicle-numbers": Identifier("L", frozenset({"vehicle-number"}), ("vin", "vehicle id", "vehicle number", "plate", "licence plate", "license plate", "kennzeichen"),
                                  _pattern(r"(?<!\w)(?=[A-Z0-9]*[A-Z])[A-HJ-NPR-Z0-9]{17}(?!\w)", _vin, 0)),
    "device-numbers": Identifier("M", frozenset({"device-number"}), ("device id", "device number", "serial", "imei", "udi", "mac address"),
                                 _any(
                                     _pattern(r"(?<![\w:])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:])"),
                                     _pattern(r"\(01\)\d{14}"),
                                     _pattern(r"(?<!\w)\d{2}-?\d{6}-?\d{6}-?\d(?!\w)", _luhn),
                                     _pattern(r"\b(?:s/n|serial(?: no\.?| number)?)[ #:.-]*[A-Z0-9-]*\d{4,}"))),
    "urls": Identifier("N", frozenset({"url"}), ("url", "website", "homepage", "web page"),
                       _pattern(r"\b(?:https?|ftp)://\S|\bwww\.[\w-]+\.\w")),
    "ip-addresses": Identifier("O", frozenset({"ip-address"}), ("ip", "ip address", "ipv4", "ipv6"),
                               _any(_pattern(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])", _address),
                                    _pattern(r"(?<![\w:])[0-9a-f:]{0,4}:[0-9a-f:]*:[0-9a-f:.]*", _address))),
    "biometrics": Identifier("P", frozenset({"biometric"}), ("fingerprint", "voiceprint", "iris scan", "retina", "genome", "dna", "biometric", "faceprint")),
    "photographs": Identifier("Q", frozenset({"face-photo"}), ("photo", "photograph", "portrait", "face image", "selfie")),
    "other": Identifier(
        "R",
        frozenset({"other-identifier"}),
        ("id", "identifier", "uuid", "guid", "pseudonym", "hash", "token", "fingerprint", "barcode"),
        lambda text: hashed(text) or _uuid(text),
    ),
}  # fmt: skip

_HEXADECIMAL = re.compile(r"(?:0x)?((?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}))", re.IGNORECASE)  # fmt: skip
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{22}==|[A-Za-z0-9+/_-]{27}=|[A-Za-z0-9+/_-]{43}=|[A-Za-z0-9+/_-]{86}==")
_CRYPT = re.compile(r"\$(?:1|2[aby]?|5|6|argon2\w*|scrypt)\$\S{10,}")


def hashed(text: str) -> bool:
    """Whether a text has the form of a digest: of MD5, SHA-1, SHA-2, in hexadecimal or base64, or of a password hash."""
    plain = text.strip()
    return bool(_HEXADECIMAL.fullmatch(plain) or _BASE64.fullmatch(plain) or _CRYPT.match(plain))


# Looking ---------------------------------------------------------------------------------------


def problems(columns: Iterable[Column], kind: str) -> list[str]:
    """What there is of one kind of identifiers, by column; empty where nothing was found.

    Args:
        columns: as they are released.
        kind: a key of ``IDENTIFIERS``.
    """
    wanted, found = IDENTIFIERS[kind], []
    for column in columns:
        if column.kind == "identifier" or column.keyed is not None:
            continue  # a fresh running number, or a pseudonym, which no-identifiers leaves to people
        if column.holds in wanted.holds:
            found.append(f"{column} holds it, as its schema says")
        elif kind == "dates" and column.kind == "datetime":
            found.append(f"{column} is a column of dates finer than a year")
        elif column.holds is None and column.kind != "boolean" and _named(column, wanted.names):
            found.append(f"{column} is named as if it held it; say in the schema what it holds ('holds')")
        elif wanted.looks is not None and column.text and (count := sum(map(wanted.looks, column.spellings))):
            found.append(f"{column}: {count} value{'s' if count > 1 else ''} of that form")
        elif kind == "other" and column.text and 30 <= column.rows == len(column.values):
            found.append(f"{column}: every row has a value of its own")
    return found


def unknown(columns: Iterable[Column]) -> list[str]:
    """The columns of which nobody said what they hold."""
    return [str(column) for column in columns if not column.known]


def too_old(columns: Iterable[Column]) -> list[str]:
    """Ages over 89 that do not share one category of 90 or more, by column."""
    found = []
    for column in columns:
        if not (column.holds == "age" or (column.holds is None and _named(column, ("age", "alter", "years old")))):
            continue
        shared_code = column.kind == "integer" and column.ceiling == OLDEST + 1  # 90 stands for 90 or older
        if column.largest is not None and column.largest > OLDEST and not shared_code:
            found.append(f"{column}: goes beyond {OLDEST} (top-code it: a largest value of 90 stands for 90 or older)")
        old = {text for text in column.spellings if column.text and _lowest_age(text) > OLDEST}
        shared = {text for text in old if _open_ended(text)}
        if old - shared or len(shared) > 1:
            found.append(f"{column}: {len(old)} categories above {OLDEST}; merge them into one, '90+'")
    for column in columns:
        if column.text and (count := sum(map(_old_person, column.spellings))):
            found.append(f"{column}: {count} value{'s' if count > 1 else ''} that tell an age above {OLDEST}")
    return list(dict.fromkeys(found))


def _lowest_age(text: str) -> int:
    """The youngest age that a category stands for; -1 where it names none."""
    number = re.search(r"(?<![\d.])\d{1,3}(?![\d.])", text)
    beyond = bool(re.match(r"\s*(?:>|over|above|older than)\s*\d", text, re.IGNORECASE)) and ">=" not in text
    return -1 if number is None else int(number[0]) + beyond


def _open_ended(text: str) -> bool:
    """Whether a category is of everybody who is 90 or older."""
    plain = text.strip().casefold()
    after = re.fullmatch(r"90 ?(?:\+|(?:years )?(?:and|or) (?:over|older|above|more)|plus)(?: years)?", plain)
    return bool(after or re.fullmatch(r"(?:>= ?|≥ ?)90|(?:> ?|over |above |older than )89", plain))


_AGED = re.compile(r"(?<!\d)(\d{2,3})[ -](?:years?|yrs?)[ -]old\b", re.IGNORECASE)


def _old_person(text: str) -> bool:
    return any(int(match[1]) > OLDEST for match in _AGED.finditer(text))


def small_areas(columns: Iterable[Column], census: Iterable[str]) -> tuple[list[str], list[str]]:
    """ZIP codes by column: those that are too fine or of too few people, and columns that hold three digits at all.

    Args:
        columns: as they are released.
        census: the lists (``zip3.yaml``) that apply, each by its name; what is in any of them is of too few people.
    """
    small = frozenset().union(*(_small(name) for name in census))
    found, seen = [], []
    for column in columns:
        digits = {text.strip() for text in column.spellings}
        if column.holds != "zip3" and not (
            column.holds is None and _named(column, ("zip3", "zip 3")) and column.kind in ("categorical", "integer")
        ):
            continue
        seen.append(str(column))
        if column.kind == "integer":
            digits = {text.zfill(3) for text in digits}
        if wrong := {text for text in digits if not re.fullmatch(r"\d{3}", text)}:
            found.append(f"{column}: {len(wrong)} values are not three digits")
        if listed := sorted(digits & small):
            found.append(f"{column}: of areas with 20,000 people or fewer: {', '.join(listed[:5])}; write 000")
    return found, seen


def _named(column: Column, names: Iterable[str]) -> bool:
    """Whether a column's name holds these words, one after the other; ``=name``: is this one word."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column.name)
    words = re.sub(r"[\W_]+", " ", apart).casefold().strip()
    return any(
        words == name[1:] if name.startswith("=") else re.search(rf"(?:^| ){re.escape(name)}(?:$| )", words) is not None
        for name in names
    )


@cache
def _small(census: str) -> frozenset[str]:
    lists = zip3()
    if census not in lists:
        raise PolicyError(f"unknown census {census!r}; known are {', '.join(lists)}")
    return frozenset(lists[census])


@cache
def zip3() -> Mapping[str, tuple[str, ...]]:
    """By census, the three-digit ZIP codes of 20,000 people or fewer (``zip3.yaml``, which names its sources)."""
    from importlib import resources

    text = resources.files("synthkit").joinpath("policy/packs/zip3.yaml").read_text("utf-8")
    document = parse_yaml(text, source="policy/packs/zip3.yaml", error=PolicyError)
    return {name: tuple(entry["small"]) for name, entry in document["censuses"].items()}


__all__ = ["IDENTIFIERS", "Identifier", "hashed", "problems", "small_areas", "too_old", "unknown", "zip3"]
