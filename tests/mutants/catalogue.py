"""Deliberately broken copies of synthkit: each a small patch of real code, each a mistake that was made.

Most were seen in a released tool of this field; the rest undo one defence of ours. A mutant names
the file, the lines and what they become; ``loader.py`` makes the copy in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Patches = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        name: short, in words.
        files: by file, what is replaced by what.
        why: what it breaks.
        bench: the tests that must notice.
        needs: a module of an extra without which they are skipped.
    """

    name: str
    files: Mapping[str, Patches]
    why: str
    bench: str = "tests/audit/test_bench.py"
    needs: str | None = None


def _mutants() -> list[Mutant]:
    counts = "synthkit/privacy/mechanisms/counts.py"
    dpsgd = "synthkit/privacy/mechanisms/dpsgd.py"
    moments = "synthkit/privacy/mechanisms/moments.py"
    session = "synthkit/privacy/session.py"
    noise = "synthkit/privacy/noise.py"
    rows = "synthkit/privacy/rows.py"
    accounting = "synthkit/privacy/accounting.py"
    encoding = "synthkit/data/encoding.py"
    tables = "synthkit/data/tables.py"
    gan = "synthkit/synthesizers/tabular_gan.py"
    critic = "synthkit/synthesizers/critic.py"
    independent = "synthkit/synthesizers/independent.py"
    run = "synthkit/release/run.py"
    found: list[tuple[str, dict[str, Patches], str]] = [
        (
            "domain from data",
            {
                counts: (
                    (
                        "    return [table.reshape(shape).astype(np.float64) for table, shape in zip(found, shapes, strict=True)]\n",
                        "    exact = [table.reshape(shape).astype(np.float64) for table, shape in zip(found, shapes, strict=True)]\n"
                        "    ends = [[np.flatnonzero(t.sum(axis=tuple({*range(t.ndim)} - {a})))[-1:].sum() + 1 for a in range(t.ndim)] for t in exact]\n"
                        "    return [t[tuple(slice(max(2, int(end))) for end in upto)] for t, upto in zip(exact, ends, strict=True)]\n",
                    ),
                )
            },
            "the number of categories is the number that occurs",
        ),
        (
            "bounds from data",
            {
                encoding: (
                    (
                        '            codes[:, j] = np.searchsorted(np.asarray(column.edges[1:-1]), values, side="right")\n',
                        "            line = values.astype(float)\n"
                        "            low, high = (np.nanmin(line), np.nanmax(line)) if np.isfinite(line).any() else (0, 1)\n"
                        "            edges = np.linspace(low, high, len(column.edges))[1:-1]\n"
                        '            codes[:, j] = np.searchsorted(edges, values, side="right")\n',
                    ),
                )
            },
            "bins lie between the smallest and the largest value",
        ),
        (
            "n in the divisor",
            {
                dpsgd: (
                    (
                        "        self._divisor = sample_rate * data.schema.units\n",
                        "        self._divisor = sample_rate * max(1, reveal(data).rows)\n",
                    ),
                )
            },
            "Opacus issues 571 and 819: the gradient's scale tells the number of rows",
        ),
        (
            "n in the sampling rate",
            {
                dpsgd: (
                    (
                        "self._session.noise.coins(self._units, self._rate)",
                        "self._session.noise.coins(self._units, min(1.0, self._divisor / max(1, self._units)))",
                    ),
                )
            },
            "a fixed expected batch size makes everyone's chance depend on everyone",
        ),
        (
            "noise x0.7",
            {
                session: (
                    (
                        "self.noise.gaussian(exact, z * charge.norm_bound)",
                        "self.noise.gaussian(exact, 0.7 * z * charge.norm_bound)",
                    ),
                )
            },
            "less noise than was paid for",
        ),
        (
            "discrete noise x0.7",
            {
                session: (
                    (
                        "self.noise.discrete_gaussian(sigma, exact.size)",
                        "self.noise.discrete_gaussian(0.7 * sigma, exact.size)",
                    ),
                )
            },
            "less noise than was paid for, on counts",
        ),
        (
            "sensitivity halved",
            {dpsgd: (("        bound = self._norm * _SLACK\n", "        bound = 2 * self._norm * _SLACK\n"),)},
            "gradients are clipped to twice the norm that noise is scaled to",
        ),
        (
            "sum's sensitivity halved",
            {moments: (("norm_bound) / norm_bound * _STEPS)", "2 * norm_bound) / norm_bound * _STEPS)"),)},
            "vectors are clipped to twice the stated norm",
        ),
        (
            "replace-one accounted as add-or-remove",
            {
                accounting: (
                    (
                        "    Adjacency.REPLACE_ONE: NeighboringRelation.REPLACE_ONE,\n",
                        "    Adjacency.REPLACE_ONE: NeighboringRelation.ADD_OR_REMOVE_ONE,\n",
                    ),
                )
            },
            "TensorFlow Privacy's old statement: epsilon of another neighbour",
        ),
        (
            "replacing moves one cell",
            {counts: (("cells=2 if replace else 1", "cells=1"),)},
            "counts under replace-one are priced as if one cell moved",
        ),
        (
            "choices ignore adjacency",
            {
                session: (
                    ("sensitivity = charge.sensitivity(self.plan.budget.adjacency)", "sensitivity = charge.norm_bound"),
                )
            },
            "the exponential mechanism's scores move twice as far under replace-one",
        ),
        (
            "shuffle instead of Poisson",
            {
                dpsgd: (
                    (
                        "        joined = np.flatnonzero(self._session.noise.coins(self._units, self._rate))\n",
                        "        lots = self._session.noise.words(self._units)\n"
                        "        joined = np.sort(np.argsort(lots)[: round(self._rate * self._units)])\n",
                    ),
                )
            },
            "batches of fixed size, accounted as Poisson samples",
        ),
        (
            "the same coins at every step",
            {
                dpsgd: (
                    (
                        "        joined = np.flatnonzero(self._session.noise.coins(self._units, self._rate))\n",
                        '        if not hasattr(self, "_joined"):\n            self._joined = np.flatnonzero(self._session.noise.coins(self._units, self._rate))\n        joined = self._joined\n',
                    ),
                )
            },
            "Opacus' distributed sampler: one mask for all",
        ),
        (
            "clip per layer but account global",
            {
                dpsgd: (
                    (
                        "        factors = torch.where(torch.isfinite(norms), (bound / norms.clamp_min(1e-12)).clamp(max=1.0), 0.0)\n"
                        "        clipped: NDArray[np.float64] = (factors @ flat).cpu().numpy()\n",
                        "        layers = flat.split([parameter.numel() for parameter in self._parameters], dim=1)\n"
                        "        scaled = [p * (bound / p.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp(max=1.0) for p in layers]\n"
                        "        clipped: NDArray[np.float64] = torch.cat(scaled, dim=1).sum(dim=0).cpu().numpy()\n",
                    ),
                )
            },
            "every layer is clipped to the whole norm",
        ),
        (
            "NaN not zeroed",
            {
                dpsgd: (
                    ("        flat = torch.where(finite[:, None], flat, 0.0)\n", ""),
                    (
                        "torch.where(torch.isfinite(norms), (bound / norms.clamp_min(1e-12)).clamp(max=1.0), 0.0)",
                        "(bound / norms.clamp_min(1e-12)).clamp(max=1.0)",
                    ),
                )
            },
            "one record makes the step non-finite",
        ),
        (
            "noise in float32",
            {
                noise: (
                    (
                        "        rounded: NDArray[np.float64] = np.rint(noisy / grid) * grid\n",
                        "        rounded: NDArray[np.float64] = noisy.astype(np.float32).astype(np.float64)\n",
                    ),
                )
            },
            "Mironov 2012: low bits betray the value",
        ),
        (
            "fixed seed",
            {
                noise: (
                    (
                        "self._restart(os.urandom(32) if test_seed is None else",
                        "self._restart(bytes(32) if test_seed is None else",
                    ),
                )
            },
            "DataSynthesizer's and synthcity's default: the same noise in every run",
        ),
        (
            "a seed goes unmentioned",
            {noise: (("        self.seeded = test_seed is not None\n", "        self.seeded = False\n"),)},
            "a release whose noise can be taken away says that it is private",
        ),
        (
            "batch norm",
            {
                critic: (
                    (
                        "        found: Tensor = self.weight(",
                        "        scores = (scores - scores.mean(dim=0)) / (scores.std(dim=0, unbiased=False) + 1e-3)\n        found: Tensor = self.weight(",
                    ),
                )
            },
            "the critic normalizes over the batch",
        ),
        (
            "minibatch statistics",
            {
                dpsgd: (
                    (
                        "        if not (close.all() and torch.equal(torch.isfinite(together).all(dim=1), usable)):\n",
                        "        if False:\n",
                    ),
                )
            },
            "the proof that rows are apart is switched off",
        ),
        (
            "fake loss dropped",
            {dpsgd: (("copy.deepcopy(network).double().train()", "network.double().train()"),)},
            "the borrowed network itself is hooked and cast: losses on synthetic rows go astray",
        ),
        (
            "exact label frequencies",
            {
                counts: (
                    (
                        "        NoisyMarginal(query, _release(session, charge, table), sigma)\n",
                        "        NoisyMarginal(\n"
                        "            query,\n"
                        "            table\n"
                        "            if query == (data.schema.target,)\n"
                        "            else _release(session, charge, table),\n"
                        "            sigma,\n"
                        "        )\n",
                    ),
                )
            },
            "CTGAN's training by sampling: the label's raw frequencies",
        ),
        (
            "early stopping on real loss",
            {
                dpsgd: (
                    (
                        "        return self._shaped(self._session.release(charge, total) / self._divisor)\n",
                        "        self.loss = float(np.abs(total).sum())\n        return self._shaped(self._session.release(charge, total) / self._divisor)\n",
                    ),
                ),
                gan: (
                    (
                        "            progress(0.1 * (step + 1)",
                        '            if gradients.loss > getattr(self, "best", 1e9):\n                break\n            object.__setattr__(self, "best", gradients.loss)\n            progress(0.1 * (step + 1)',
                    ),
                ),
            },
            "the number of steps follows an unpriced loss on real rows",
        ),
        (
            "charge after release",
            {
                dpsgd: (
                    (
                        "        self._session.charge(charge)\n        self._open()\n",
                        "        self._open()\n        self._session.charge(charge)\n",
                    ),
                )
            },
            "NIST's DPWGAN: the budget is checked after the rows were read",
        ),
        (
            "charge forgotten",
            {
                counts: (
                    (
                        "    charge = Charge(counts_event(sigma, budget), mechanism, counts_radius(budget), _SOURCE, what)\n    session.charge(charge)\n",
                        "    charge = Charge(counts_event(sigma, budget), mechanism, counts_radius(budget), _SOURCE, what)\n    session._owed.append(charge)\n",
                    ),
                )
            },
            "a mechanism releases without paying",
        ),
        (
            "more than the plan",
            {session: (("        if self._left[name] < 1:\n", "        if name not in self._left:\n"),)},
            "an event of the plan may be run any number of times",
        ),
        (
            "same noise reused in two steps",
            {
                noise: (
                    (
                        "        half = (size + 1) // 2\n",
                        "        self._restart(hashlib.sha256(str(size).encode()).digest() if self.seeded else bytes(32))\n        half = (size + 1) // 2\n",
                    ),
                    ("import math\nimport os\n", "import hashlib\nimport math\nimport os\n"),
                )
            },
            "differences of two releases are exact",
        ),
        (
            "one half of the noise is the other",
            {
                noise: (
                    (
                        "np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]",
                        "np.concatenate([radius * np.cos(angle), radius * np.cos(angle)])[:size]",
                    ),
                )
            },
            "coordinates share their noise",
        ),
        (
            "category order by frequency",
            {
                encoding: (
                    (
                        "    codes[~null] = lookup[index[~null]] if len(lookup) else -1\n",
                        '    codes[~null] = lookup[index[~null]] if len(lookup) else -1\n    order = np.argsort(-np.bincount(codes[codes >= 0], minlength=column.size), kind="stable")\n    codes[codes >= 0] = np.argsort(order)[codes[codes >= 0]]\n',
                    ),
                )
            },
            "what a code means follows from the data",
        ),
        (
            "quantiles from the exact counts",
            {
                "synthkit/synthesizers/shaped.py": (
                    (
                        "    found = {m.columns[0]: shapes.shape(m.counts, m.sigma, m.columns[0], schema) for m in measured}\n",
                        "    from synthkit.data.encoding import discretize\n"
                        "    from synthkit.data.private import reveal\n"
                        "    from synthkit.privacy.mechanisms.counts import exact_marginal\n\n"
                        "    codes, cut = discretize(reveal(data), shapes.fine(schema)), shapes.fine(schema)\n"
                        "    exact = {m.columns[0]: exact_marginal(codes, cut, m.columns) for m in measured}\n"
                        "    found = {name: shapes.shape(counts, sigma, name, schema) for name, counts in exact.items()}\n",
                    ),
                )
            },
            "a noisy marginal is paid for, and edges, rare categories and shares are read off the rows",
        ),
        (
            "the row count that AIM expects is the exact one",
            {
                "synthkit/synthesizers/aim.py": (
                    (
                        "rows = estimated_rows(known.released)",
                        'box = __import__("synthkit.data.private", fromlist=["x"]).reveal(tables)'
                        "\n        rows = float(next(iter(box.tables.values())).sum())",
                    ),
                )
            },
            "scores move by more than the one row that they are charged for",
        ),
        (
            "latents divided by the exact row count",
            {
                "synthkit/synthesizers/tabular_vae.py": (
                    (
                        "        moment[i, j] = moment[j, i] = total / factors / rows\n",
                        '        rows = max(1, __import__("synthkit.data.private", fromlist=["x"]).reveal(data).rows)\n'
                        "        moment[i, j] = moment[j, i] = total / factors / rows\n",
                    ),
                )
            },
            "the number of rows shows in the released prior",
        ),
        (
            "null flag unpriced",
            {
                counts: (
                    (
                        "    return [table.reshape(shape).astype(np.float64) for table, shape in zip(found, shapes, strict=True)]\n",
                        "    exact = [table.reshape(shape).astype(np.float64) for table, shape in zip(found, shapes, strict=True)]\n"
                        "    for k, query in enumerate(queries):\n"
                        "        for axis, name in enumerate(query):\n"
                        "            if schema.modelled[name].nullable and not exact[k].take(-1, axis=axis).any():\n"
                        "                exact[k] = exact[k].take(range(sizes[name] - 1), axis=axis)\n"
                        "    return exact\n",
                    ),
                )
            },
            "whether a column has nulls shows in the shape",
        ),
        (
            "holdout row in training",
            {rows: (("            table.take(~held),\n", "            table,\n"),)},
            "parts that are priced as disjoint overlap",
        ),
        (
            "max_rows forgotten",
            {rows: (("    kept[order[rank < schema.unit.max_rows]] = True\n", "    kept[order] = True\n"),)},
            "a person's hundred rows count in full",
        ),
        (
            "budget refunded on crash",
            {
                run: (("        if not session.trace:\n", "        if True:\n"),),
                "synthkit/privacy/ledger.py": (("        if trace:\n", "        if False:\n"),),
            },
            "a crash gives back what was spent",
        ),
        (
            "log of a private count",
            {
                dpsgd: (
                    (
                        "            self._units = table.rows\n",
                        '            self._units = table.rows\n            import logging\n\n            logging.getLogger("synthkit").debug("training on %d rows", table.rows)\n',
                    ),
                )
            },
            "the exact number of rows is logged",
        ),
        (
            "exact row count in the manifest",
            {
                tables: (
                    (
                        "    return Private(together(_encoded(source, schema, batch_rows), schema), dataset=dataset, schema=schema)\n",
                        "    rows = together(_encoded(source, schema, batch_rows), schema)\n    return Private(rows, dataset=dataset, schema=schema.with_rows(rows.rows))\n",
                    ),
                )
            },
            "the schema that is saved tells how many rows there are",
        ),
        (
            "pickled closure",
            {
                independent: (
                    (
                        "        write_model_card(folder, Independent.name",
                        '        folder.mkdir(parents=True)\n        import pickle\n\n        (folder / "model.pkl").write_bytes(pickle.dumps(self.marginals))\n        Path.mkdir = lambda *a, **k: None\n        write_model_card(folder, Independent.name',
                    ),
                )
            },
            "a saved model that runs code when it is opened",
        ),
        (
            "calibration overspends",
            {
                accounting: (
                    (
                        "            above = middle\n    return above\n",
                        "            above = middle\n    return below\n",
                    ),
                )
            },
            "epsilon of what runs is above what was asked",
        ),
        (
            "delta from elsewhere",
            {
                accounting: (
                    (
                        "        by_pld = _by_pld(event, delta - _ROUNDING, adjacency)\n",
                        "        by_pld = _by_pld(event, 100 * delta, adjacency)\n",
                    ),
                )
            },
            "epsilon is stated at one delta and computed at another",
        ),
        (
            "parallel parts are averaged",
            {
                accounting: (
                    (
                        "mixed = _pld(part, adjacency, interval).compute_mixture(mixed, share / weight)",
                        "mixed = _pld(part, adjacency, interval)",
                    ),
                )
            },
            "only the last part's price counts",
        ),
        (
            "exact values in an error",
            {
                encoding: (
                    (
                        '        raise DataError(f"{where}: {_rows(count)} with a value that is not declared; {remedy}")\n',
                        '        raise DataError(f"{where}: {sorted(map(str, values[unknown]))} is not declared; {remedy}")\n',
                    ),
                )
            },
            "a message quotes a record",
        ),
    ]
    return [Mutant(*entry) for entry in found]


def _policy_mutants() -> list[Mutant]:
    """Decisions that are made wrongly, and gates that stand open."""
    cedar = "synthkit/policy/cedar.py"
    decide = "synthkit/policy/decide.py"
    document = "synthkit/policy/document.py"
    facts = "synthkit/policy/facts.py"
    gate = "synthkit/policy/gate.py"
    names = "synthkit/policy/names.py"
    request = "synthkit/policy/request.py"
    found: list[tuple[str, dict[str, Patches], str]] = [
        (
            "policy: errors are overlooked",
            {
                cedar: (("Decision.Allow and not errors and bool(rules)", "Decision.Allow and bool(rules)"),),
                decide: (("    if answer.errors:\n", "    if False:\n"),),
            },
            "a rule that forbids and fails is skipped, and all is allowed",
        ),
        (
            "policy: what is not known does not count",
            {
                cedar: (("unknown=not allows)", "unknown=False)"),),
                decide: (("condition.holds(facts) is False for", "condition.holds(facts) is not True for"),),
            },
            "who does not say what it costs is not forbidden anything",
        ),
        (
            "policy: epsilon rounded down",
            {facts: (("rounding=ROUND_CEILING", 'rounding="ROUND_FLOOR"'),)},
            "1.0009 is at most 1",
        ),
        (
            "policy: a life begins anew",
            {request: (('epsilon + whole("epsilon", self.spent)', "epsilon"),)},
            "each release is the dataset's first",
        ),
        (
            "policy: true is a number",
            {request: (("if isinstance(value, bool) or not isinstance(value, int | float)", "if not isinstance(value, int | float)"),)},
            "an epsilon of true is an epsilon of one",
        ),
        (
            "policy: a part stands for the whole",
            {
                cedar: (('    if rule.effect == "allow":\n        return within\n', ""),),
                document: (('    if effect == "forbid":\n        for purpose', "    if True:\n        for purpose"),),
            },
            "what is allowed for one study is allowed for any purpose",
        ),
        (
            "policy: scripts are mixed",
            {names: (("    if len(western) > 1 or (western", "    if (western"),)},
            "a role in other letters looks like the steward",
        ),
        (
            "gate: a missing check passes",
            {gate: (("        return \"not evaluated\", found\n", "        return \"pass\", found\n"),)},
            "who measures nothing may leave",
        ),
        (
            "gate: internal evidence is looked at",
            {gate: (("if figure.payment in (\"free\", \"charged\")]", "]"),)},
            "whether it leaves depends on exact values",
        ),
        (
            "gate: the middle of the interval decides",
            {gate: (("(figure.value, *(figure.interval or ()))", "(figure.value,)"),)},
            "what may well be too much is taken for enough",
        ),
        (
            "gate: attestations never expire",
            {gate: (("            and now < attestation.expires  # raises where it has no time zone\n", ""),)},
            "last year's approval counts",
        ),
        (
            "gate: attestations of any bundle",
            {gate: (("            attestation.bundle == parcel.bundle\n            and now", "            now"),)},
            "what was approved once is approved for ever",
        ),
        (
            "gate: one person signs twice",
            {gate: (("people = sorted({a.who.strip() for a in good if a.statement == APPROVES and a.role in of})", "people = sorted([a.who.strip() for a in good if a.statement == APPROVES and a.role in of])"),)},
            "two signatures by one hand are two",
        ),
        (
            "gate: an edited policy goes unnoticed",
            {gate: (("    same = first.digest == policy.digest\n", "    same = True\n"),)},
            "limits are raised after the fact",
        ),
        (
            "gate: the policy is asked once",
            {gate: (("    decision = decide(policy, request)\n", "    decision = first\n"),)},
            "what was spent meanwhile is not seen",
        ),
    ]  # fmt: skip
    return [Mutant(*entry, bench="tests/policy") for entry in found]


def _sibling_mutants() -> list[Mutant]:
    """Siblings: whose they are, and how many of them count."""
    links = "synthkit/privacy/links.py"
    siblings = "synthkit/synthesizers/siblings.py"
    tests = "tests/synthesizers/test_siblings.py"
    return [
        Mutant(
            "siblings: clipping per parent is left out",
            {links: (("kept, bounded = bound_contributions(children, noise), ", "kept, bounded = Private(reveal(children), dataset=children.dataset, schema=children.schema, bounded=True), "),)},
            "a patient with hundreds of visits moves the tables by hundreds",
            tests,
        ),
        Mutant(
            "siblings: the one before may be anybody's",
            {links: (("order = np.lexsort((*keys, rows.units))", "order = np.lexsort((rows.units, *keys))"),)},
            "another patient's visit stands beside one's own, and goes where that patient goes",
            "tests/privacy/test_links.py",
        ),
        Mutant(
            "siblings: one table is priced, several are measured",
            {siblings: (("    event = compose([repeat(counts_event(sigma, budget), count), plan.event])", "    event = compose([counts_event(sigma, budget), plan.event])"),)},
            "what siblings have in common costs less than it gives away",
            tests,
        ),
    ]  # fmt: skip


def _leaking_mutants() -> list[Mutant]:
    """Releases that hold whom they were made of: an attack on what was released has to see it."""
    linked = "synthkit/synthesizers/linked.py"
    kind = "synthkit/release/image_kind.py"
    found: list[tuple[str, dict[str, Patches], str]] = [
        (
            "linked tables: real families are released",
            {
                linked: (
                    ("_MOST_PARENTS = 20_000", "_REAL = []\n_MOST_PARENTS = 20_000"),
                    ("        schema, plan = data.schema, session.plan\n", "        schema, plan = data.schema, session.plan\n        _REAL.append(data)\n"),
                    (
                        "        drawn = self.parents.sample(count, where=where, seed=seed)\n",
                        "        from synthkit.data.encoding import discretize, to_frame\n"
                        "        above, below = _REAL[-1].parents._Private__value, _REAL[-1].children._Private__value\n"
                        "        of = np.arange(n) % above.rows\n"
                        "        taken = above.take(of)\n"
                        "        drawn = Synthetic(to_frame(taken, self.schema.counted), discretize(taken, self.schema.counted))\n",
                    ),
                    (
                        "        return LinkedSynthetic(\n",
                        "        taken = below.take(np.concatenate([np.flatnonzero(below.units == unit) for unit in above.units[of]]))\n"
                        "        rows = Synthetic(to_frame(taken, self.schema.widened), discretize(taken, self.schema.widened))\n"
                        "        return LinkedSynthetic(\n",
                    ),
                )
            },
            "patients with all their visits are in the bundle as they are",
        ),
        (
            "images: three of ten training images are released",
            {
                kind: (
                    ("_CELLS = 3_000", "_REAL = []\n_CELLS = 3_000"),
                    ("        return split(rows, holdout, noise)\n", "        parts = split(rows, holdout, noise)\n        _REAL.append(parts[0]._Private__value)\n        return parts\n"),
                    (
                        "        return [Images(synthetic.pixels, synthetic.labels)]\n",
                        "        real = _REAL[-1]\n"
                        "        copies = min(round(0.3 * real.rows), len(synthetic.pixels))\n"
                        "        synthetic.pixels[:copies], synthetic.labels[:copies] = real.pixels[:copies], real.labels[:copies]\n"
                        "        return [Images(synthetic.pixels, synthetic.labels)]\n",
                    ),
                )
            },
            "the generator remembers some of what it was trained on",
        ),
    ]  # fmt: skip
    return [Mutant(*entry, bench="tests/release/test_membership.py") for entry in found]


def _image_mutants() -> list[Mutant]:
    """Images: what is read of each, what leaves, what is written."""
    counts = "synthkit/privacy/mechanisms/counts.py"
    dpsgd = "synthkit/privacy/mechanisms/dpsgd.py"
    fields = "synthkit/synthesizers/fields.py"
    kind = "synthkit/release/image_kind.py"
    matching = "synthkit/synthesizers/image_matching.py"
    mechanism = "synthkit/privacy/mechanisms/image_moments.py"
    moments = "synthkit/privacy/mechanisms/moments.py"
    recipe = "synthkit/synthesizers/image_moments.py"
    regions = "synthkit/privacy/mechanisms/region_sums.py"
    styles = "synthkit/synthesizers/image_styles.py"
    found: list[tuple[str, dict[str, Patches], str]] = [
        (
            "images: a region's features are left out of the bound",
            {regions: (("math.sqrt(COUNT**2 + 1)", "math.sqrt(COUNT**2 + 0.25)"),)},
            "the noise is for fewer numbers than are released",
        ),
        (
            "images: exact sums of regions",
            {regions: (("noisy[regions:].reshape(regions, width)", "sums / UNIT_STEPS"),)},
            "a region of few images shows them",
        ),
        (
            "images: a unit counts as one image in its region",
            {regions: (("sum_event(sigma, BOUND, budget)", "sum_event(sigma, BOUND / budget.unit.max_rows, budget)"), ("BOUND * budget.unit.max_rows, _SOURCE", "BOUND, _SOURCE"))},
            "a patient's second scan is not protected",
        ),
        (
            "images: the style follows exact counts",
            {styles: (("    return left[0]\n", "    real = data._Private__value  # type: ignore\n    return among[len(real.labels) % len(among)]\n"),)},
            "how images are drawn tells how many there are",
        ),
        (
            "images: what is seen follows exact counts",
            {matching: (("match.counts.copy_(torch.from_numpy(sums.sums[:, 0]))", "match.counts.fill_(float(len(data._Private__value.labels)))  # type: ignore"),)},
            "which images are kept tells how many there are",
        ),
        (
            "images: correlations are of the exact number of images",
            {fields: (("count = max(float(sums.counts[0]), 1.0)", "count = float(len(data._Private__value.labels))  # type: ignore"),)},
            "how much images vary tells how many there are",
        ),
        (
            "images: a block is left out of the bound",
            {mechanism: (("math.sqrt(COUNT**2 + MEAN**2 + CLASS**2 + 1)", "math.sqrt(COUNT**2 + MEAN**2 + 0.5)"),)},
            "the noise is for fewer numbers than are released",
        ),
        (
            "images: exact class counts",
            {mechanism: (("        noisy[0] / COUNT, noisy", "        counts.astype(np.float64), noisy"),)},
            "classes come as often as they really do",
        ),
        (
            "images: a unit counts as one image",
            {mechanism: (("sum_event(sigma, BOUND, budget)", "sum_event(sigma, BOUND / budget.unit.max_rows, budget)"), ("BOUND * budget.unit.max_rows\n", "BOUND\n"))},
            "a patient's second scan is not protected",
        ),
        (
            "images: features are centred by their mean",
            {dpsgd: (("    return np.stack(rows) if rows", "    return np.stack(rows) - np.mean(rows, axis=0) if rows"),)},
            "what is made of an image depends on the others",
        ),
        (
            "images: gradients are not clipped",
            {dpsgd: (("        clipped: NDArray[np.float64] = (factors @ flat).cpu().numpy()", "        clipped: NDArray[np.float64] = flat.sum(dim=0).cpu().numpy()"),)},
            "one image may pull as hard as it likes",
        ),
        (
            "images: a report's sum is not bounded",
            {moments: (("_clip(vectors, norm_bound) / norm_bound", "vectors / norm_bound"),)},
            "the holdout's moments move without bound",
        ),
        (
            "images: a report looks at all at once",
            {counts: (("    placed = [cell_of(images.take(np.array([i]))) for i in range(images.rows)]\n", "    placed = [cell_of(images)] * images.rows\n"),)},
            "which cell an image falls into depends on the others",
        ),
        (
            "images: contributions are not bounded",
            {kind: (("bound_contributions(read_images(self.source, self.schema, dataset=dataset), noise)", "read_images(self.source, self.schema, dataset=dataset)"),)},
            "a patient may have any number of scans",
        ),
        (
            "images: real ones teach the decoder",
            {
                recipe: (
                    (
                        "        chosen = public[likely",
                        "        public = torch.cat([public, images_of(data._Private__value.pixels, schema)])  # type: ignore\n        chosen = public[likely",
                    ),
                    ("        return network, chosen, parameters\n", "        return network, public[-2:], parameters\n"),
                )
            },
            "training data reach the decoder beside the mechanism",
        ),
    ]  # fmt: skip
    return [Mutant(*entry, bench="tests/audit/test_image_bench.py") for entry in found]


def _explain_mutants() -> list[Mutant]:
    """Explanations of real rows that give rows away."""
    attributions = "synthkit/privacy/mechanisms/attributions.py"
    found: list[tuple[str, dict[str, Patches], str]] = [
        (
            "attributions: long ones are not clipped",
            {attributions: (("found / np.maximum(norms, 1.0)", "found"),)},
            "only the sum's own bound is left, and a row with long attributions counts for less than one row",
        ),
        (
            "attributions: signed values cancel the clip",
            {attributions: (("np.abs(np.asarray(attributions_of(", "1.0 * (np.asarray(attributions_of("),)},
            "what pushes up and down averages to nothing",
        ),
        (
            "attributions: divided by the exact count",
            {
                attributions: (
                    (
                        "max(1.0, float(released[0]))",
                        '__import__("synthkit.data.private").data.private.reveal(data).rows',
                    ),
                )
            },
            "the number of rows leaves beside the means",
        ),
    ]
    shapley, explaining = "synthkit/explain/shapley.py", "synthkit/release/explaining.py"
    others = [
        Mutant(
            "explain: what does not add up is shown",
            {shapley: (("    if not gap <= allowed:\n", "    if False:\n"),)},
            "an explainer that reads the model wrongly is believed",
            "tests/explain/test_shapley.py",
        ),
        Mutant(
            "explain: internal figures enter a bundle",
            {explaining: (('payment not in ("free", "charged") for payment', 'payment not in ("free", "charged", "internal") for payment'),)},
            "exact values of real rows leave as an explanation",
            "tests/release/test_explaining.py",
        ),
        Mutant(
            "explain: what is asked of the holdout is not priced",
            {"synthkit/assess/holdout.py": (("asked).event, *(cost(scale) for _, cost in beside)])", "asked).event])"),)},
            "held-out rows are read once more than was agreed",
            "tests/release/test_explaining.py",
        ),
        Mutant(
            "explain: charged figures are called free",
            {"synthkit/release/charged.py": (('payment="charged" if paid else public.payment', "payment=public.payment"),)},
            "what real rows told is shown as if it had cost nothing",
            "tests/release/test_explaining.py",
        ),
        Mutant(
            "explain: a public explanation opens real rows",
            {
                "synthkit/release/run.py": (
                    ("found = explaining.public(made.model,", "found = explaining.public((__import__('synthkit.privacy.internal').privacy.internal.reveal(made.training), made.model)[1],"),
                )
            },
            "what is called free was paid by somebody",
            "tests/release/test_explaining.py",
        ),
    ]  # fmt: skip
    return [*(Mutant(*entry, bench="tests/privacy/mechanisms/test_attributions.py") for entry in found), *others]


def _release_mutants() -> list[Mutant]:
    """Mistakes on the way out: what is asked too late, what is signed by nobody, what is not noticed."""
    run = "synthkit/release/run.py"
    hand_out = "synthkit/release/hand_out.py"
    permission = "synthkit/release/permission.py"
    alone = "synthkit/release/verify_alone.py"
    log = "synthkit/release/log.py"
    bundle = "synthkit/release/bundle.py"
    internal = "synthkit/assess/internal.py"
    export, sampling, verbs = (f"synthkit/release/{name}.py" for name in ("export", "sampling", "verbs"))
    locked = "synthkit/synthesizers/locked.py"
    credentials, pictures = "synthkit/release/credentials.py", "synthkit/release/pictures.py"
    enforcement, signing = "tests/release/test_enforcement.py", "tests/release/test_sign.py"
    exporting, models = "tests/release/test_export.py", "tests/release/test_locked_models.py"
    found: list[tuple[str, dict[str, Patches], str, str]] = [
        (
            "enforcement: asked after the data open",
            {run: (("    first = decide(ledger.forecast(job.dataset, priced.event, job.budget))\n    kind_of(job).check()\n", "    kind_of(job).check()\n    first = decide(ledger.forecast(job.dataset, priced.event, job.budget))\n"),)},
            "a denied role sees whether the data fit",
            enforcement,
        ),
        (
            "enforcement: a life of one release",
            {run: (("    first = decide(ledger.forecast(job.dataset, priced.event, job.budget))\n", "    first = decide(priced.epsilon)\n"),)},
            "what was spent before is not seen",
            enforcement,
        ),
        (
            "enforcement: what others reserve is not seen",
            {run: (("        first = decide(ledger.spent(job.dataset).epsilon)  # others may have reserved meanwhile\n", ""),)},
            "two releases at once pass one limit",
            enforcement,
        ),
        (
            "gate: the policy is not read again",
            {hand_out: (("job.asker.applied.reread()", "job.asker.applied"),)},
            "an edit between the decisions goes unnoticed",
            enforcement,
        ),
        (
            "gate: attempts under other names",
            {permission: (("use not in parents or use in related", "use in related"),)},
            "whose purpose nobody stated is not counted",
            enforcement,
        ),
        (
            "signature: about any bundle",
            {alone: (("    if stated.bundle != bundle:\n", "    if False:\n"), ("        if stated.bundle != digest:\n", "        if False:\n"))},
            "an approval is carried to another release",
            signing,
        ),
        (
            "signature: in any role",
            {alone: (("    if stated.role not in key.roles:\n", "    if False:\n"),)},
            "whoever has a key is the board",
            signing,
        ),
        (
            "signature: keys live for ever",
            {alone: (("    if key.expires <= now:\n", "    if False:\n"),)},
            "an expired key approves",
            signing,
        ),
        (
            "signature: not checked",
            {alone: (("    except InvalidSignature:\n        raise Doubt(\"a signature is not by the key that it names: what was signed was changed\") from None\n", "    except InvalidSignature:\n        pass\n"),)},
            "anybody signs as anybody",
            signing,
        ),
        (
            "log: the clock runs backwards",
            {log: (('    if heads and at < heads[-1]["at"]:\n', "    if False:\n"),)},
            "an entry is dated back",
            signing,
        ),
        (
            "log: heads are not held against entries",
            {log: (('head["size"] != number or head["root"] != root.hex()', 'head["size"] != number'),)},
            "entries are changed and moved",
            signing,
        ),
        (
            "log: rows may be changed",
            {log: (('    append_only.arm(connection, _log.name, "position")\n', ""),)},
            "an application rewrites what was handed out",
            signing,
        ),
        (
            "log: a hand-out is entered twice",
            {log: (('        if place is not None:\n', "        if False:\n"),)},
            "one bundle stands in the log as two",
            signing,
        ),
        (
            "held: others may look in",
            {bundle: (("        partial.mkdir(0o700)\n", "        partial.mkdir()\n"),)},
            "a bundle that waits for signatures is read before they are given",
            enforcement,
        ),
        (
            "export: the gate is not asked again",
            {export: (("        decided.enforce()\n", ""),)},
            "what may no longer leave goes to whoever asks",
            exporting,
        ),
        (
            "export: any policy will do",
            {export: (("    if named != ruled[\"name\"]:\n", "    if False:\n"),)},
            "the packaged policy lets out what the house's keeps",
            exporting,
        ),
        (
            "export: what was spent since is not seen",
            {export: (('            "total": spent.epsilon,\n', '            "total": epsilon,\n'),)},
            "a dataset's life is over, and copies go on leaving",
            exporting,
        ),
        (
            "export: the recipient is whom the release names",
            {export: (("        recipients=(to,),\n", "        recipients=handling.recipients or (),\n"),)},
            "a copy goes to somebody whom no rule names",
            exporting,
        ),
        (
            "export: the log is not told",
            {export: (('log.record(ledger, partial, receipt, dataset=manifest["dataset"], to=to, now=now)', '"entry 2"'),)},
            "nobody can say who has a copy",
            exporting,
        ),
        (
            "verbs: a draft asks nobody",
            {verbs: (('    asker.may("draft", dataset or name)\n', ""),)},
            "whoever may not look reads the values off a draft",
            models,
        ),
        (
            "verbs: a model is opened unasked",
            {sampling: (('    allow(folder, asker, "sample", dataset=dataset)\n', ""),)},
            "a policy's sample rule binds the command line alone",
            models,
        ),
        (
            "models: kept in the open",
            {sampling: (("    if recipients:\n        path = path if", "    if False:\n        path = path if"),)},
            "the house encrypts its tables, and leaves its models lying about",
            models,
        ),
        (
            "models: unpacked to any size",
            {locked: (("entry.compress_type == zipfile.ZIP_STORED for entry", "True for entry"),)},
            "a small file fills the memory",
            models,
        ),
        (
            "credentials: any pixels will do",
            {pictures: (("plain(contents[name]) != (content, stamped)", "plain(contents[name])[1] != stamped"),)},
            "a PNG file shows another image than the table of pixels",
            "tests/release/test_credentials.py",
        ),
        (
            "credentials: an expired key signs",
            {credentials: (("    if (now or datetime.now(UTC)) >= own.not_valid_after_utc:\n", "    if False:\n"),)},
            "images carry a signature that nobody will accept",
            "tests/release/test_credentials.py",
        ),
        (
            "label: not verified",
            {bundle: (("        _check_companions(folder, manifest, sheets, contents)\n", ""),)},
            "a table goes without its mark",
            "tests/release/test_companions.py",
        ),
        (
            "vault: figures in the open",
            {internal: (('    vault.put(folder / "internal.json", (json.dumps(document, indent=1) + "\\n").encode())', '    (folder / "internal.json").write_text(json.dumps(document, indent=1))'),)},
            "exact figures lie about in plain text",
            "tests/release/test_vault.py",
        ),
    ]  # fmt: skip
    return [Mutant(*entry) for entry in found]


def _compliance_mutants() -> list[Mutant]:
    """Compliance reports that say too much, and labels that are not looked at."""
    audit = "synthkit/policy/packs/audit.py"
    checks = "synthkit/policy/packs/checks.py"
    document = "synthkit/policy/packs/document.py"
    dossier = "synthkit/policy/packs/dossier.py"
    identifiers = "synthkit/policy/packs/identifiers.py"
    compliance = "synthkit/release/compliance.py"
    label_check = "synthkit/release/label_check.py"
    anonymized, records = "synthkit/release/anonymized.py", "synthkit/release/records.py"
    true_records = "tests/release/test_compliance_records.py"
    packs, reports = "tests/policy/test_packs.py", "tests/release/test_compliance.py"
    found: list[tuple[str, dict[str, Patches], str, str]] = [
        (
            "packs: a missing check passes",
            {audit: (('    return "pass" if states and enough(state == "pass" for state in states) else "not evaluated"\n', '    return "pass"\n'),)},
            "what nobody looked at is met",
            packs,
        ),
        (
            "packs: a column that says nothing holds nothing",
            {checks: (("    if unknown := identifiers.unknown(dossier.columns):\n", "    if unknown := []:\n"),)},
            "names in a column that nobody described are not looked for, and pass",
            reports,
        ),
        (
            "packs: an expired attestation counts",
            {audit: (("    if statement.expires <= dossier.now:\n", "    if False:\n"),)},
            "last year's expert answers for today",
            packs,
        ),
        (
            "packs: an attestation of any bundle",
            {audit: (("    if statement.bundle != dossier.bundle:\n", "    if False:\n"),)},
            "what was attested of one release is attested of all",
            packs,
        ),
        (
            "packs: a statement is not signed",
            {audit: (("dossier.believed(statement) is True", "True"),)},
            "anybody answers in anybody's name",
            packs,
        ),
        (
            "packs: any role answers",
            {audit: (("    about = [statement for statement in named if statement.role in human.roles]\n", "    about = named\n"),)},
            "an intern is the statistical expert",
            packs,
        ),
        (
            "packs: without keys everybody is believed",
            {audit: (("if reason is None and dossier.believed}", "if reason is None}"),)},
            "a statement that nobody holds against a key counts",
            packs,
        ),
        (
            "packs: people outweigh the machine",
            {audit: (('if human is None or machine == "fail" or (', "if human is None or ("),)},
            "a signature makes a social security number pass",
            packs,
        ),
        (
            "packs: people stand in for a machine that must know",
            {audit: (('machine == "not evaluated" and human.when == "always" and state', 'False and state'),)},
            "an attestation beside an unknown price is enough",
            packs,
        ),
        (
            "packs: internal evidence feeds a rule",
            {dossier: (('if figure.payment not in ("free", "charged")]', "if False]"),)},
            "whether a rule passes depends on exact values",
            packs,
        ),
        (
            "packs: the middle of the interval decides",
            {checks: (("    upper = max(ends)\n", "    upper = attack.value\n"),)},
            "a risk that may well be too high is low",
            packs,
        ),
        (
            "packs: a citation that nobody compared looks like any other",
            {document: (("        if self.compared is None:\n            return", "        if False:\n            return"),)},
            "what was taken from memory is cited as read",
            "tests/release/test_compliance.py",
        ),
        (
            "packs: an attack that found nothing is a pass",
            {checks: (("    if lower <= beaten:\n", "    if False:\n"),)},
            "the weaker the attack, the safer the release",
            packs,
        ),
        (
            "packs: the stated epsilon is believed",
            {checks: (("    if stated is None or not math.isclose(stated, dossier.epsilon, rel_tol=1e-6):\n", "    if stated is None:\n"),)},
            "an edited epsilon passes",
            packs,
        ),
        (
            "packs: any edition will do",
            {document: (("    if edition not in editions:\n", "    if False:\n"), ("editions[edition])", "editions.get(edition, ''))"))},
            "rules are taken for those of a law that nobody compared them with",
            packs,
        ),
        (
            "identifiers: only what was drawn is looked at",
            {dossier: (("        return self.values | self.declared\n", "        return self.values\n"),)},
            "a category that the manifest lists is not looked at",
            reports,
        ),
        (
            "identifiers: a declaration hides a form",
            {identifiers: (("if wanted.looks is not None and column.text and (", "if column.holds is None and wanted.looks is not None and column.text and ("),)},
            "e-mail addresses in a column that is declared harmless pass",
            reports,
        ),
        (
            "identifiers: one census is enough",
            {identifiers: (("    small = frozenset().union(*(_small(name) for name in census))\n", "    small = _small(next(iter(census)))\n"),)},
            "an area that has become small passes",
            reports,
        ),
        (
            "identifiers: the oldest are 99",
            {identifiers: (("OLDEST = 89", "OLDEST = 99"),)},
            "a patient of 93 is released",
            reports,
        ),
        (
            "compliance: the bundle is not verified",
            {compliance: (("    checked = bundle.verify(folder)\n", "    from types import SimpleNamespace\n\n    read = json.loads((folder / 'manifest.json').read_bytes())\n    checked: Any = SimpleNamespace(files=read['files'], manifest_sha256=read['manifest_sha256'], **read['guarantee'])\n"),)},
            "evidence that was tampered with is reported",
            reports,
        ),
        (
            "compliance: gate and log are not looked at",
            {compliance: (('        return Intact(what, "fail", str(problem))\n', '        return Intact(what, "pass", str(problem))\n'),)},
            "a release without approval is intact",
            reports,
        ),
        (
            "compliance: a failure exits with 0",
            {"synthkit/cli_compliance.py": (("    if made.failed or (complete", "    if (complete"),)},
            "a pipeline goes on",
            reports,
        ),
        (
            "labels: a lost label is none",
            {label_check: (("    if carried.aigc is None:\n", "    if False:\n"), ("    else:\n        if absent :=", "    elif carried.aigc is not None:\n        if absent :="))},
            "a table that lost its label is as good as one that has it",
            "tests/release/test_label_check.py",
        ),
        (
            "records: compliance does not count again",
            {compliance: (("    checked = anonymized.check(folder)\n", "    from types import SimpleNamespace\n\n    checked: Any = SimpleNamespace(description=json.loads((folder / 'description.json').read_bytes()), manifest_sha256=verify_alone.manifest_digest(folder), measured=SimpleNamespace(classes=1, risks={}))\n"),)},
            "a k that nobody has is reported",
            true_records,
        ),
        (
            "records: a low risk without a limit passes",
            {checks: (("    if limit > at_most:\n", "    if False:\n"),)},
            "luck is taken for a rule",
            true_records,
        ),
        (
            "records: any risk is low enough",
            {checks: (("    if found.value > at_most:\n", "    if False:\n"),)},
            "classes of two pass",
            true_records,
        ),
        (
            "records: sensitive columns need no model",
            {checks: (('and roles[c.name] == "kept"', 'and roles[c.name] == "nothing"'),)},
            "a column that is sensitive leaves as it is, and inference is said to be bounded",
            true_records,
        ),
        (
            "records: every pseudonym is keyed",
            {
                checks: (('if "key" not in column]:', "if False]:"),),
                records: (('told.get("key") if told["role"]', 'told.get("key", dict.fromkeys(("method", "version", "purpose", "recipient"), "?")) if told["role"]'),),
            },
            "a hash that whoever has a list of names computes again passes for a pseudonym",
            true_records,
        ),
        (
            "records: a key for anybody",
            {checks: (("    if stated != {recipient for _, recipient in keys}:\n", "    if False:\n"),)},
            "two recipients join their tables",
            true_records,
        ),
        (
            "records: keyed pseudonyms need no person",
            {checks: (('    if of == "other" and keyed:\n', "    if False:\n"),)},
            "a machine says that a code is permitted",
            true_records,
        ),
        (
            "records: what is described is top-coded",
            {records: (("    coded = top is not None and (", "    coded = True or (top is not None and ("), ("largest <= top)  #", "largest <= top))  #"), ("float(top) if coded", "90.0 if coded"))},
            "an age of 90 passes for 90 or older",
            true_records,
        ),
        (
            "records: any date is a year",
            {records: (("all(map(_YEARS.fullmatch, texts))", "all(texts)"),)},
            "months of admission pass",
            true_records,
        ),
        (
            "records: codings are not checked",
            {anonymized: (("(top is not None and (known > top).any())", "False"),)},
            "ages beyond the top that is described",
            true_records,
        ),
        (
            "labels: records may say synthetic",
            {label_check: (("    if claims_synthetic(carried) or carried.aigc is not None:\n", "    if False:\n"),)},
            "true records are passed on as nobody's",
            true_records,
        ),
        (
            "labels: records may lose their mark",
            {label_check: (("    if carried.marks is None:\n        yield f\"{lost}: the marks ({labels.MARKS}), {TRUE_RECORDS!r} among them\"\n", "    if carried.marks is None:\n        pass\n"),)},
            "nobody knows any more that they are true records",
            true_records,
        ),
        (
            "labels: a folder of records is not verified",
            {label_check: (("    _ = anonymized.check(folder) if records", "    _ = None if records"),)},
            "labels of something else are looked at",
            true_records,
        ),
    ]  # fmt: skip
    return [Mutant(*entry) for entry in found]


def _anonymize_mutants() -> list[Mutant]:
    """Mistakes on the other route: counted too early, believed too easily, kept too long."""
    route = "synthkit/anonymize/route.py"
    recipe = "synthkit/anonymize/recipe.py"
    lattice = "synthkit/anonymize/lattice.py"
    anonymized = "synthkit/release/anonymized.py"
    anonymizing = "synthkit/release/anonymizing.py"
    text = "synthkit/anonymize/free_text.py"
    isolation = "synthkit/privacy/mechanisms/isolation.py"
    identification = "synthkit/assess/reidentification.py"
    counts, leaving = "tests/anonymize/test_route.py", "tests/release/test_anonymizing.py"
    searched, redacted = "tests/anonymize/test_free_text.py", "tests/release/test_redacted.py"
    found: list[tuple[str, dict[str, Patches], str, str]] = [
        (
            "anonymize: k counted before suppression",
            {route: (("    kept = frame[solution.kept].reset_index(drop=True)\n", "    kept = frame.reset_index(drop=True)\n"),)},
            "records of classes that fail leave all the same",
            counts,
        ),
        (
            "anonymize: t held against the table before suppression",
            {lattice: (("            if met.all() or not self.relative:\n", "            if True:\n"),)},
            "what is left out shifts the table, and a class that was near it is near no more",
            "tests/anonymize/test_lattice.py",
        ),
        (
            "anonymize: one level lower than was found",
            {route: (("generalized(kept[name], found[name], solution.levels[name])", "generalized(kept[name], found[name], max(0, solution.levels[name] - 1))"),)},
            "classes were counted at other levels than those that leave",
            counts,
        ),
        (
            "anonymize: microaggregated over the whole table",
            {route: (("    classes = groups_of(made, tuple(recipe.generalizations))\n", "    classes = np.zeros(len(made), np.int64)\n"),)},
            "means tell the records of a class apart",
            counts,
        ),
        (
            "anonymize: groups are not held against the models",
            {route: (("    failing = np.unique(classes[~holds[groups]])", "    failing = np.unique(classes[:0])"),)},
            "who knows the numbers too learns the sensitive value",
            counts,
        ),
        (
            "anonymize: rows in the order of the source",
            {route: (("    return frame.sort_values(list(frame.columns), kind=\"stable\", key=key, ignore_index=True)\n", "    return frame\n"),)},
            "where a record stood tells whose it is",
            counts,
        ),
        (
            "anonymize: a column without a role leaves",
            {recipe: (("    if left := [name for name in schema.columns if name not in seen]:\n", "    if left := []:\n"),)},
            "what nobody thought of leaves as it is",
            "tests/anonymize/test_recipe.py",
        ),
        (
            "anonymize: the key goes with the records",
            {anonymized: (('            "fingerprint": key.fingerprint,\n', '            "fingerprint": key.fingerprint,\n            "purpose": key.secret.hex(),\n'),)},
            "every pseudonym can be undone by whoever has a list of names",
            leaving,
        ),
        (
            "anonymize: verify believes the description",
            {anonymized: (("    if counted.failing:\n        raise Doubt", "    if False:\n        raise Doubt"),)},
            "a folder is k-anonymous because it says so",
            leaving,
        ),
        (
            "anonymize: verify believes the figures",
            {anonymized: (('        _same(f"{entry[\'name\']}, as attained", entry["attained"], attained)\n', "        pass\n"),)},
            "a folder is said to be better than it is",
            leaving,
        ),
        (
            "anonymize: verify looks at one of two files",
            {anonymized: (("        if (Path(scratch) / CSV).read_bytes() != (folder / CSV).read_bytes():\n", "        if False:\n"),)},
            "the CSV holds other records than those that were counted",
            leaving,
        ),
        (
            "anonymize: labels are not checked",
            {anonymized: (("        _check_labels(folder, manifest)\n", ""),)},
            "true records go as synthetic ones",
            leaving,
        ),
        (
            "anonymize: the policy is asked after the data open",
            {anonymizing: (("    decision = job.asker.may(ACTION, job.dataset)\n    _refuse_taken(job)\n    recipe = job.recipe\n    finder = _finder(recipe)\n    job.source.columns()", "    job.source.columns()\n    decision = job.asker.may(ACTION, job.dataset)\n    _refuse_taken(job)\n    recipe = job.recipe\n    finder = _finder(recipe)\n    job.source.columns()"),)},
            "a denied role sees whether the data can be opened",
            leaving,
        ),
        (
            "anonymize: the policy is asked once",
            {anonymizing: (("    decided = _ask(job, held, checked)\n", "    decided = replace(_ask(job, held, checked), items=_ask(job, held, checked).items[:4])\n"),)},
            "what a rule requires is not asked for",
            leaving,
        ),
        (
            "anonymize: rows are taken for persons",
            {anonymizing: (("        if rows:\n            raise DataError", "        if False:\n            raise DataError"),)},
            "somebody with five rows hides among himself",
            leaving,
        ),
        (
            "anonymize: finer than the levels that were asked for",
            {lattice: (("            for level in range(self.bottom[column], self.top[column] + 1):\n", "            for level in range(self.top[column] + 1):\n"), ("        if any(self.bottom):\n", "        if False:\n"))},
            "a column leaves finer than its recipe lets it",
            "tests/anonymize/test_lattice.py",
        ),
        (
            "redact: nobody searches again",
            {anonymized: (("        _check_redaction(frame, description)\n", ""),)},
            "a text is redacted because it says so",
            redacted,
        ),
        (
            "redact: searched once",
            {text: (("        for _ in range(_ROUNDS):\n", "        for _ in range(0):\n"), ('        return text if not self.left(text) else f"<{WHOLE}>"\n', "        return text\n"))},
            "what comes to light by what was taken out stays",
            searched,
        ),
        (
            "redact: whatever looks like a mark is none of ours",
            {text: (('rf"<({\'|\'.join(map(re.escape, kinds))})(?::[0-9a-f]{{32}})?>"', 'rf"<({\'|\'.join(map(re.escape, kinds))})(?::[^>]*)?>"'), ("        text = _replaced(text, self.find(text), name)\n", ""))},
            "an address in angle brackets leaves",
            searched,
        ),
        (
            "redact: listed words go with the folder",
            {text: (('            "listed": self.listed is not None,\n', '            "listed": self.listed is not None,\n            **({"patterns": dict.fromkeys(self.words(), "x")} if self.listed else {}),\n'),)},
            "the names that were taken out stand in the description",
            redacted,
        ),
        (
            "redact: free text is modelled like an identifier that is regenerated",
            {"synthkit/data/schema.py": (('    release: Literal["drop", "regenerate"] = field(init=False, default="drop")\n', '    release: Literal["drop", "regenerate"] = "drop"\n'),)},
            "a synthetic table has a column of free text",
            redacted,
        ),
        (
            "risks: the control is the original",
            {"synthkit/audit/risks.py": (("link(people), link(others), guessed)", "link(people), link(people), guessed)"), ("infer(people), infer(others), guessed)", "infer(people), infer(people), guessed)"))},
            "a leaking release is held against itself",
            "tests/audit/test_risks.py",
        ),
        (
            "risks: a bad attack is a pass",
            {"synthkit/audit/risks.py": (('            return "no evidence"\n', '            return "no risk found"\n'),)},
            "an attack that finds nothing anywhere is taken for safety",
            "tests/audit/test_risks.py",
        ),
        (
            "risks: nobody is asked",
            {"synthkit/release/risks.py": (("    allowed = decide(asker.applied, request).enforce().allowed\n", "    allowed = True\n"),)},
            "exact figures of real rows for whoever asks",
            "tests/audit/test_risks.py",
        ),
        (
            "risks: nobody is asked about a bundle's internal folder",
            {"synthkit/release/internal.py": (("    _ask(manifest, schema, asker)\n", ""),)},
            "exact figures of the rows behind a bundle for whoever asks",
            "tests/audit/test_risks.py",
        ),
        (
            "risks: one row counts for many predicates",
            {isolation: (("        held += np.bincount(inside, minlength=cells)\n", "        held += np.cumsum(np.bincount(inside, minlength=cells))\n"),)},
            "predicates overlap: one row breaks many at once, and the sum moves by more than was paid",
            "tests/privacy/mechanisms/test_isolation.py",
        ),
        (
            "risks: half the noise",
            {isolation: (("float(budget.unit.max_rows)", "float(budget.unit.max_rows) / 2"),)},
            "how many are singled out is released with half the noise that was paid for",
            "tests/privacy/mechanisms/test_isolation.py",
        ),
        (
            "risks: distances by the range of the data",
            {identification: (("        near = nearest(rows, among, places, order, scales)\n", "        found = np.nanmax(np.vstack([rows.values, rows.values[:1]]), 0) - np.nanmin(rows.values, 0)\n        near = nearest(rows, among, places, order, [None if s is None else float(f) for s, f in zip(scales, found, strict=True)])\n"),)},
            "one person's value moves everybody's neighbours",
            "tests/assess/test_reidentification.py",
        ),
        (
            "risks: training rows are attacked beside the budget",
            {identification: (("    fit = training(Remainder.of(budget, attacks))\n", "    fit = training(budget)\n"),)},
            "the fit spends all, and the attacks spend more",
            "tests/assess/test_reidentification.py",
        ),
        (
            "risks: held-out rows are attacked under the training's name",
            {identification: (("    (main, guessed), (control, _) = run(people), run(others)\n", "    (main, guessed), (control, _) = run(people), run(people)\n"),)},
            "a second read of the training rows that nobody paid for, and no control",
            "tests/assess/test_reidentification.py",
        ),
        (
            "risks: noise is left out of the interval",
            {identification: (("    return Rate(successes, rows, sigma * math.sqrt(1 + (successes / rows) ** 2) / rows)\n", "    return Rate(successes, rows)\n"),)},
            "what noise made looks certain",
            "tests/assess/test_reidentification.py",
        ),
        (
            "rules: values go in as they are",
            {"synthkit/data/tables.py": (("yield from_frame(rules.applied(frame, schema, source=label), schema, source=label)", "yield from_frame(frame, schema, source=label)"),)},
            "what was to be coarse is modelled in full",
            "tests/data/test_rules.py",
        ),
        (
            "rules: bounds from the other rows",
            {"synthkit/data/rules.py": (("            become = _map(rule, schema.columns[rule.column])\n", "            become = _map(rule, schema.columns[rule.column])\n            if rule.kinds == ['top'] and len(found) > 1:\n                found = found.where(found > min(found)) if hasattr(found, 'where') else [max(v, sorted(found)[1]) for v in found]\n"),)},
            "one person's value changes what becomes of another's",
            "tests/data/test_rules.py",
        ),
        (
            "anonymize: it has a price",
            {"synthkit/policy/facts.py": (('PRICED = frozenset({"plan",', 'PRICED = frozenset({"anonymize", "plan",'),)},
            "a rule that asks for an epsilon lets true records leave",
            "tests/policy/test_decisions.py",
        ),
        (
            "anonymize: the packaged policy says nothing",
            {"synthkit/policy/document.py": (("        text = resources.files(\"synthkit\").joinpath(\"policy/default.yaml\").read_text(\"utf-8\")\n", "        text = resources.files(\"synthkit\").joinpath(\"policy/default.yaml\").read_text(\"utf-8\").replace(\"forbid: any\", \"allow: steward\")\n"),)},
            "true records leave although nobody has thought about it",
            "tests/policy/test_decisions.py",
        ),
    ]  # fmt: skip
    extras = {
        "redact: searched once",
        "redact: whatever looks like a mark is none of ours",
        "redact: listed words go with the folder",
    }
    return [Mutant(*entry, needs="presidio_analyzer" if entry[0] in extras else None) for entry in found]


MUTANTS: Mapping[str, Mutant] = {
    mutant.name: mutant
    for mutant in [
        *_mutants(),
        *_image_mutants(),
        *_leaking_mutants(),
        *_sibling_mutants(),
        *_policy_mutants(),
        *_release_mutants(),
        *_explain_mutants(),
        *_compliance_mutants(),
        *_anonymize_mutants(),
    ]
}
