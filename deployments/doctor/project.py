"""What is the project's own: databases and their migrations, rules, and the catalogue."""

from blocks.engine import LedgerError, check_integrity, sqlite_path
from blocks.settings import settings
from deployments.doctor.finding import Finding
from deployments.errors import ConfigurationError


def databases() -> list[Finding]:
    """Whether each domain's database is whole and at the newest revision."""
    from deployments.migrations import DOMAINS

    return [finding for domain in DOMAINS for finding in _database(domain)]


def _database(domain: str) -> list[Finding]:
    from deployments.migrations import current, head

    if settings().database_url is None and not sqlite_path(domain).exists():
        return [Finding(f"database {domain}", False, "not made yet", "`quintet up` or `quintet apply` makes it.")]
    try:
        check_integrity(domain)
        revision = current(domain)
    except LedgerError as error:
        return [Finding(f"database {domain}", False, str(error))]
    whole = Finding(f"database {domain}", True, "whole")
    if revision != head(domain):
        state = f"at revision {revision or 'none'}, newest is {head(domain)}"
        return [whole, Finding(f"migrations {domain}", False, state, "Run `quintet apply`.")]
    return [whole, Finding(f"migrations {domain}", True, f"at the newest revision, {revision}")]


def rules() -> list[Finding]:
    """Whether the rules can be read."""
    from tasks.dicom.core.rules import RulesError, load_rules

    folder = settings().root / "dicom" / "rules"
    if not folder.exists():
        return [Finding("rules dicom", True, f"none yet in {folder}: everything is kept and sent nowhere")]
    try:
        found = load_rules(folder)
    except RulesError as error:
        return [Finding("rules dicom", False, str(error), "Correct the lines named.")]
    return [Finding("rules dicom", True, f"{len(found.rulesets)} rulesets, {len(found.destinations)} destinations")]


def catalogue() -> list[Finding]:
    """Whether prefect.yaml and automations.yaml are what Prefect and the code expect."""
    from deployments.apply import validated_catalogue
    from deployments.catalogue import read_automations

    try:
        deployments = validated_catalogue().deployments
        automations = read_automations()
    except ConfigurationError as error:
        return [Finding("catalogue", False, str(error), "Correct the lines named.")]
    return [Finding("catalogue", True, f"{len(deployments)} deployments, {len(automations)} automations")]
