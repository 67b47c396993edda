"""The command about true records: parse, call a verb, show the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthkit.cli_options import JSON, LEDGER, Asked, asking, show

if TYPE_CHECKING:
    from synthkit.release.anonymized import Checked


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--plan", "dry", is_flag=True, help="Show what would be done, and do nothing. Opens no data.")
@click.option(
    "--rotate", is_flag=True, help="Draw a new key for the pseudonyms first; earlier ones stay where they are."
)
@click.option("--resume", is_flag=True, help="Hand out what was held until people had signed it. Opens no data.")
@asking
@LEDGER
@JSON
def anonymize(
    file: Path, dry: bool, rotate: bool, resume: bool, asked: Asked, ledger_location: str | None, as_json: bool
) -> None:
    """Anonymize the true records that FILE names, and hand them out where a policy lets them leave. No epsilon.

    Where its policy asks for signatures, the folder is held beside, and the command exits with 1. Once it is
    signed, --resume hands it out. 'synthkit verify' checks the folder.

    \b
    Example:
      synthkit anonymize anonymize.yaml --plan
    """
    from synthkit.errors import JobError
    from synthkit.release import anonymizing
    from synthkit.release.anonymize_job import AnonymizeJob

    if (dry or rotate) and resume:
        raise JobError("--resume hands out what was made; leave --plan and --rotate out")
    job = asked.over(AnonymizeJob.read(file))
    if dry:
        _show_plan(anonymizing.plan(job, rotate=rotate), job, as_json)
        return
    from synthkit.privacy.ledger import Ledger

    ledger = Ledger(ledger_location)
    made = anonymizing.resume(job, ledger) if resume else anonymizing.run(job, ledger, rotate=rotate)
    facts = {"folder": str(made.folder), "held": made.held, **told(made.checked), "gate": made.gate.to_dict()}
    lines = [f"{made.folder}: {summary(made.checked)}"]
    if made.held:
        lines += [str(made.gate), f"Held in {made.folder} until it is signed: 'synthkit sign', then --resume"]
    else:
        lines.append(f"Check:  synthkit verify {made.folder}")
    show(facts, "\n".join(lines), as_json)
    if made.held:
        click.get_current_context().exit(1)


def told(checked: Checked) -> dict[str, Any]:
    """What was found in a folder, for machines."""
    description = checked.description
    return {
        "kind": description["kind"],
        "records": description["records"],
        "levels": {column["name"]: column["level"] for column in description["columns"] if "level" in column},
        "models": description["models"],
        "attackers": description["attackers"],
        "redacted": {c["name"]: c["redaction"] for c in description["columns"] if "redaction" in c},
        "loss": description["loss"],
        "policy": dict(checked.policy),
        "seals": list(checked.seals),
    }


def summary(checked: Checked) -> str:
    """What was found in a folder, for people."""
    description = checked.description
    records, loss, attackers = description["records"], description["loss"], description["attackers"]
    lines = [
        f"{records['released']} true records of real people in {records['classes']} classes; "
        f"{records['suppressed']} of {records['read']} left out. Not synthetic, no epsilon."
    ]
    for entry in description["models"]:
        on = f" of {entry['sensitive']}" if entry["sensitive"] else ""
        settings = ", ".join(f"{name} {value}" for name, value in entry["asked"].items())
        lines.append(f"  {entry['name']}{on} ({settings}): {entry['attained']:.6g} in the worst class")
    for attacker in ("prosecutor", "journalist"):
        risk = attackers[attacker]
        lines.append(
            f"  {attacker}: highest risk {risk['highest']:.4g}, average {risk['average']:.4g}, "
            f"{risk['above']:.2%} of records above {attackers['threshold']:g}"
        )
    lines.append(f"  marketer: {attackers['marketer']['success']:.4g} of records named rightly")
    levels = ", ".join(
        f"{column['name']} {column['level']}/{column['height']}"
        for column in description["columns"]
        if "level" in column
    )
    for column in description["columns"]:
        if "redaction" in column:
            lines += redacted(column)
    best = "the least there is" if loss["optimal"] else "found by a beam: perhaps not the least"
    lines.append(f"  levels: {levels}; {loss['model']} loss {loss['value']:.4g} ({best})")
    return "\n".join(lines)


def redacted(column: Mapping[str, Any]) -> list[str]:
    """What was looked for in a column of free text, for people."""
    told = column["redaction"]
    found = ", ".join(f"{count} {kind}" for kind, count in told["marks"].items()) or "nothing"
    looked = ", ".join(told["looked_for"])
    return [
        f"  {column['name']}: free text, redacted: {found}; looked for {looked}",
        "    NO GUARANTEE: what no pattern matches stays"
        + (
            "; names in prose are not looked for without a model" if told["model"] is None else "; a model misses names"
        ),
    ]


def _show_plan(plan: Any, job: Any, as_json: bool) -> None:
    facts = {
        "dataset": job.dataset,
        "output": str(job.output),
        "columns": dict(plan.roles),
        "models": list(plan.models),
        "suppression_limit": job.recipe.suppression,
        "loss": job.recipe.loss,
        "nodes": plan.nodes,
        "exact": plan.exact,
        "key": plan.key,
        "looked_for": list(plan.looked_for),
        "decision": plan.decision.to_dict(),
    }
    lines = [f"{job.dataset}: true records would leave as {job.output}. No epsilon: this is not differential privacy."]
    lines += [f"  {name}: {role}" for name, role in plan.roles.items()]
    lines += [f"  each class: {model}" for model in plan.models]
    search = "all of them are searched" if plan.exact else "too many: a beam searches them"
    lines.append(
        f"  at most {job.recipe.suppression:.1%} of the records left out; {plan.nodes} combinations of levels, {search}, "
        f"for the least {job.recipe.loss} loss"
    )
    if plan.key:
        lines.append(f"  pseudonyms: {plan.key}")
    if plan.looked_for:
        lines.append(f"  in free text, without a guarantee: {', '.join(plan.looked_for)}")
        if job.recipe.redaction.model is None:
            lines.append("    names in prose are not looked for: no language model is declared (redact.model)")
    show(facts, "\n".join([*lines, str(plan.decision)]), as_json)


__all__ = ["anonymize", "summary", "told"]
