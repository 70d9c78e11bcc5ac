"""Which presentation contexts are accepted: verification, and storage of whatever there is to store.

Only what a peer proposes is looked at. Supporting all storage classes with all transfer syntaxes by listing them costs
pynetdicom a deep copy of some 170 contexts with 45 syntaxes each for every association.
"""

from collections.abc import Iterable

from pydicom.uid import UID
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import NonPatientObjectStorageServiceClass, ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

#: Verification SOP Class (PS3.4 annex A).
VERIFICATION = UID("1.2.840.10008.1.1")
_TRANSFER_SYNTAXES = frozenset(ALL_TRANSFER_SYNTAXES)


def is_storage(abstract_syntax: UID) -> bool:
    """Whether instances of a SOP class may be stored: standard, retired, private and not yet known ones."""
    service = uid_to_service_class(abstract_syntax)
    # Colour palettes, hanging protocols and the like (PS3.4 annex GG) come by C-STORE as images do.
    if service in (StorageServiceClass, NonPatientObjectStorageServiceClass) or abstract_syntax.is_private:
        return True
    if service is not ServiceClass:
        return False
    # The base class stands for what pynetdicom does not know. A UID without a name is newer than the dictionary.
    name = abstract_syntax.name
    return name == str(abstract_syntax) or ("Storage" in name and "Commitment" not in name)


def supported_contexts(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """What of a proposal is supported; of several transfer syntaxes the peer's first known one is taken."""
    syntaxes: dict[UID, list[str | UID]] = {}
    for context in proposed:
        abstract = context.abstract_syntax
        if abstract is not None and (abstract == VERIFICATION or is_storage(abstract)):
            known = syntaxes.setdefault(abstract, [])
            known += [each for each in context.transfer_syntax if each in _TRANSFER_SYNTAXES and each not in known]
    return [build_context(abstract, known) for abstract, known in syntaxes.items() if known]
