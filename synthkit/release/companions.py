"""Files of a bundle that say again what its manifest says, each in another's words: written and verified from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from synthkit.release import labels
from synthkit.release.croissant import croissant
from synthkit.release.datasheet import datasheet

COMPANIONS = ("label.json", "croissant.json", "datasheet.md")


def companions(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """By name of the file, its content.

    Args:
        manifest: with the data files under ``files``; what else is there is not looked at.
    """
    return {
        "label.json": _json(labels.sidecar(manifest)),
        "croissant.json": _json(croissant(manifest)),
        "datasheet.md": datasheet(manifest).encode(),
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


__all__ = ["COMPANIONS", "companions"]
