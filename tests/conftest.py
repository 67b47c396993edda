"""Where SYNTHKIT_MUTANT names a mutant, the tests run against that deliberately broken copy."""

from __future__ import annotations

import os

if os.environ.get("SYNTHKIT_MUTANT"):
    from tests.mutants.loader import install

    install()
