"""What a column may hold, as its schema declares it: the words of a data inventory, and how each may tell a person apart.

``direct`` names a person by itself; ``quasi`` does together with others; ``sensitive`` is what nobody else should learn;
``other`` is neither. The direct ones are the identifiers of 45 CFR 164.514(b)(2)(i).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Class = Literal["direct", "quasi", "sensitive", "other"]

HOLDS: Mapping[str, Class] = {
    "name": "direct",
    "phone": "direct",
    "fax": "direct",
    "email": "direct",
    "social-security-number": "direct",
    "medical-record-number": "direct",
    "health-plan-number": "direct",
    "account-number": "direct",
    "licence-number": "direct",
    "vehicle-number": "direct",
    "device-number": "direct",
    "url": "direct",
    "ip-address": "direct",
    "biometric": "direct",
    "face-photo": "direct",
    "other-identifier": "direct",
    "place": "quasi",  # anything smaller than a state: street, city, county, postcode
    "zip3": "quasi",  # the first three digits of a ZIP code
    "state": "quasi",  # a state, or larger
    "date": "quasi",  # finer than a year, about a person
    "year": "quasi",
    "age": "quasi",  # in years
    "quasi": "quasi",  # anything else that others may know of a person
    "sensitive": "sensitive",
    "other": "other",
}

__all__ = ["HOLDS", "Class"]
