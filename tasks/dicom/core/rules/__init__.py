"""The rules engine: matches instances, changes their elements and says where they go.

Rules are data: YAML in a folder, read by `load_rules`. `evaluate` runs an instance through them, `explain` says why.
How to write them stands in `docs/dicom-rules.md`.
"""

from tasks.dicom.core.rules.changing import Change, CrosswalkLookup
from tasks.dicom.core.rules.criteria import Source
from tasks.dicom.core.rules.errors import CrosswalkError, CrosswalkUnavailableError, ModificationError, RulesError
from tasks.dicom.core.rules.evaluation import Evaluation, evaluate
from tasks.dicom.core.rules.explanation import Explanation, explain
from tasks.dicom.core.rules.loading import load_rules
from tasks.dicom.core.rules.model import Rule, Rules, RuleSet

__all__ = [
    "Change",
    "CrosswalkError",
    "CrosswalkLookup",
    "CrosswalkUnavailableError",
    "Evaluation",
    "Explanation",
    "ModificationError",
    "Rule",
    "RuleSet",
    "Rules",
    "RulesError",
    "Source",
    "evaluate",
    "explain",
    "load_rules",
]
