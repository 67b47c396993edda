"""Loads synthkit with one deliberately broken place, named by the environment variable SYNTHKIT_MUTANT."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from tests.mutants.catalogue import MUTANTS, Mutant

VARIABLE = "SYNTHKIT_MUTANT"


class _Patching(importlib.machinery.SourceFileLoader):
    """Reads a module's source with the patches applied. Nothing is written, no bytecode is cached."""

    patches: tuple[tuple[str, str], ...] = ()

    def get_code(self, fullname: str) -> Any:
        return compile(patched(self.get_data(self.path).decode(), self.patches), self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, files: Mapping[str, tuple[tuple[str, str], ...]]) -> None:
        self._modules = {file.removesuffix(".py").replace("/", "."): patches for file, patches in files.items()}

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        if fullname not in self._modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.origin is not None
        loader = _Patching(fullname, spec.origin)
        loader.patches = self._modules[fullname]
        return importlib.util.spec_from_file_location(fullname, spec.origin, loader=loader)


def patched(source: str, patches: tuple[tuple[str, str], ...]) -> str:
    """The source with every patch applied; each place must occur exactly once."""
    for old, new in patches:
        if source.count(old) != 1:
            raise LookupError(f"occurs {source.count(old)} times, once was expected:\n{old}")
        source = source.replace(old, new)
    return source


def install(name: str | None = None) -> Mutant | None:
    """Let the named mutant (default: the environment's) take effect; before synthkit is imported."""
    name = name or os.environ.get(VARIABLE)
    if not name:
        return None
    mutant = MUTANTS[name]
    if any(module == "synthkit" or module.startswith("synthkit.") for module in sys.modules):
        raise RuntimeError("synthkit is imported already; a mutant must be installed before")
    sys.meta_path.insert(0, _Finder(mutant.files))
    return mutant
