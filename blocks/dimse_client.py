"""What a DIMSE peer can be asked: to verify, to store a batch, to say or give back what it holds.

A batch goes over one association, data sets raw from disk. Where the peer does not take an instance's transfer
syntax, and the strategy allows it, the instance is decompressed to an uncompressed little endian one on its way.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import PresentationContext
from pynetdicom.status import code_to_category

from blocks.dimse_association import MAXIMUM_CONTEXTS, NoContextError, Peer, associate, contexts_for, send_data_set
from blocks.dimse_status import stored_or_raise
from blocks.dimse_transcode import (
    UNCOMPRESSED,
    file_sha256,
    quiet,
    same_elements,
    syntax_name,
    transcode,
)
from blocks.instance_store import (
    CannotTellError,
    Check,
    ContextRefusedError,
    Held,
    Instance,
    SourceError,
    Stored,
    UndecodableError,
    UnreachableError,
)

# PS3.4 A.4, C.6.2.3; PS3.6 Table A-1.
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"


def _offset(path: Path) -> int:
    return int(split_dataset(path)[1])


def _refused(instance: Instance) -> ContextRefusedError:
    return ContextRefusedError(
        f"the peer takes neither {syntax_name(instance.transfer_syntax_uid)} nor anything it may be turned into for "
        f"{syntax_name(instance.sop_class_uid)}"
    )


class NothingAccepted:
    """Stands for an association on which the peer took none of the proposed contexts."""

    def send(self, instance: Instance) -> Stored:
        """Refuse.

        Raises:
            ContextRefusedError: always.
        """
        raise _refused(instance)


class StoreAssociation:
    """An open association for the instances it was opened for."""

    def __init__(self, association: Association, peer: Peer, scratch: Path) -> None:
        self._association = association
        self._timeout_seconds = peer.timeout_seconds
        self._scratch = scratch
        self._messages = 0
        self._accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): int(context.context_id or 0)
            for context in association.accepted_contexts
        }

    def send(self, instance: Instance) -> Stored:
        """Store one instance; returns when the peer has acknowledged it.

        Raises:
            StoreError: see `blocks.instance_store`.
        """
        if not self._association.is_established:
            raise UnreachableError("the association has ended")
        try:
            context = self._accepted.get((instance.sop_class_uid, instance.transfer_syntax_uid))
            if context is not None:
                return self._send(instance, instance.path, instance.data_set_offset, context)
            syntax = next((uid for uid in UNCOMPRESSED if (instance.sop_class_uid, uid) in self._accepted), None)
            if syntax is None:
                raise _refused(instance)
            turned = self._scratch / "turned.dcm"
            transcode(instance, syntax, turned)
            stored = self._send(instance, turned, _offset(turned), self._accepted[(instance.sop_class_uid, syntax)])
        except OSError as error:
            raise SourceError(f"the file cannot be read: {error.strerror or type(error).__name__}") from error
        note = f"sent as {syntax_name(syntax)}; the peer does not take {syntax_name(instance.transfer_syntax_uid)}"
        return Stored(stored.status, f"{note}; {stored.note}" if stored.note else note)

    def _send(self, instance: Instance, path: Path, offset: int, context_id: int) -> Stored:
        self._messages = self._messages % 65535 + 1
        response = send_data_set(
            self._association,
            context_id,
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            path=path,
            offset=offset,
            message_id=self._messages,
            timeout_seconds=self._timeout_seconds,
        )
        return stored_or_raise(response.Status or 0)


class DimseClient:
    """Talks to one peer. Holds no connection of its own; every method opens and ends its associations."""

    def __init__(self, peer: Peer, transfer_syntaxes: Literal["as_is", "fallback"] = "fallback") -> None:
        self.peer = peer
        self._fallback = transfer_syntaxes == "fallback"

    def echo(self) -> None:
        """C-ECHO.

        Raises:
            UnreachableError: there is no peer, or it did not answer with success.
        """
        with associate(self.peer, contexts_for([(VERIFICATION, UNCOMPRESSED)])) as association:
            status = association.send_c_echo().get("Status")
        if status != 0:
            answer = "no status" if status is None else f"status {status:04X}"
            raise UnreachableError(f"{self.peer} answered C-ECHO with {answer}", status=status)

    # Storing

    def _pairs(self, instance: Instance) -> list[tuple[str, tuple[str, ...]]]:
        pairs: list[tuple[str, tuple[str, ...]]] = [(instance.sop_class_uid, (instance.transfer_syntax_uid,))]
        if self._fallback and instance.transfer_syntax_uid != UNCOMPRESSED[0]:
            pairs.append((instance.sop_class_uid, UNCOMPRESSED))
        elif self._fallback:
            pairs.append((instance.sop_class_uid, UNCOMPRESSED[1:]))
        return pairs

    def plan(self, batch: Sequence[Instance]) -> list[list[Instance]]:
        """Split a batch, in its order, so that each part needs at most 128 presentation contexts."""
        parts: list[list[Instance]] = []
        pairs: set[tuple[str, tuple[str, ...]]] = set()
        for instance in batch:
            needed = pairs | set(self._pairs(instance))
            if not parts or len(needed) > MAXIMUM_CONTEXTS:
                parts.append([])
                needed = set(self._pairs(instance))
            parts[-1].append(instance)
            pairs = needed
        return parts

    @contextmanager
    def open(self, part: Sequence[Instance]) -> Iterator[StoreAssociation | NothingAccepted]:
        """One association for one part of a batch.

        Raises:
            UnreachableError: no association came about.
        """
        pairs = dict.fromkeys(pair for instance in part for pair in self._pairs(instance))
        with ExitStack() as stack:
            scratch = stack.enter_context(TemporaryDirectory(prefix="quintet-dimse-"))
            sender: StoreAssociation | NothingAccepted
            try:
                association = stack.enter_context(associate(self.peer, contexts_for(list(pairs))))
                sender = StoreAssociation(association, self.peer, Path(scratch))
            except NoContextError:
                sender = NothingAccepted()
            yield sender

    # Looking up

    def check(self, batch: Sequence[Instance], by: Check) -> Iterator[tuple[Instance, Held]]:
        """Ask the peer what it holds of each instance, over one association.

        Raises:
            UnreachableError: no association came about, or it ended in the middle.
            CannotTellError: the peer does not offer C-FIND or C-GET in the Study Root model, or answers with a failure.
        """
        return self._find(batch) if by is Check.FIND else self._read_back(batch)

    def find(self, instance: Instance) -> Held:
        """C-FIND at IMAGE level by SOP Instance UID; raises as `check` does."""
        return next(held for _, held in self.check([instance], Check.FIND))

    def get(self, instance: Instance) -> Held:
        """C-GET one instance back and compare its content; raises as `check` does."""
        return next(held for _, held in self.check([instance], Check.READ_BACK))

    def holds(self, instance: Instance) -> bool | None:
        """Whether the peer has exactly this content; none where it cannot be asked for content.

        Raises:
            UnreachableError: see `check`.
        """
        try:
            return self.get(instance) is Held.SAME
        except CannotTellError:
            return None

    def _find(self, batch: Sequence[Instance]) -> Iterator[tuple[Instance, Held]]:
        model = STUDY_ROOT_FIND
        with associate_for(self.peer, model, contexts_for([(model, UNCOMPRESSED)])) as association:
            for instance in batch:
                _must_be_open(association)
                found = 0
                for status, identifier in association.send_c_find(_keys(instance), model):
                    _must_not_fail(status, "C-FIND")
                    if identifier is not None and identifier.get("SOPInstanceUID") == instance.sop_instance_uid:
                        found += 1
                yield instance, Held.PRESENT if found else Held.ABSENT

    def _read_back(self, batch: Sequence[Instance]) -> Iterator[tuple[Instance, Held]]:
        model = STUDY_ROOT_GET
        by_context = {pair for instance in batch for pair in self._pairs(instance)}
        limit = MAXIMUM_CONTEXTS - 1
        if len(by_context) > limit:
            middle = len(batch) // 2
            yield from self._read_back(batch[:middle])
            yield from self._read_back(batch[middle:])
            return
        # One syntax per context, so that what comes back says which it is in.
        pairs = sorted({(sop_class, syntax) for sop_class, syntaxes in by_context for syntax in syntaxes})[:limit]
        classes = {sop_class for sop_class, _ in pairs}
        compared = _Comparison()
        with (
            compared.receiving(),
            associate_for(
                self.peer,
                model,
                contexts_for([(model, UNCOMPRESSED), *((sop_class, [syntax]) for sop_class, syntax in pairs)]),
                # Both roles: with the SCP role alone some peers refuse the context.
                roles=[build_role(sop_class, scu_role=True, scp_role=True) for sop_class in classes],
                handlers=[(evt.EVT_C_STORE, compared.receive)],
            ) as association,
        ):
            for instance in batch:
                _must_be_open(association)
                compared.expect(instance)
                failed = False
                for status, _ in association.send_c_get(_keys(instance), model):
                    # Sub-operations that fail (A702, B000) concern this instance: it is there, and was not given back.
                    _must_not_fail(status, "C-GET", tolerated=(0xA702, 0xB000))
                    failed = failed or bool(status.get("NumberOfFailedSuboperations"))
                    failed = failed or status.Status in (0xA702, 0xB000)
                held = compared.held()
                yield instance, Held.UNTOLD if failed and held is not Held.SAME else held


@contextmanager
def associate_for(peer: Peer, model: str, contexts: list[PresentationContext], **options: Any) -> Iterator[Association]:
    """An association on which a query model was accepted.

    Raises:
        UnreachableError: no association came about.
        CannotTellError: the peer refused the model.
    """
    with ExitStack() as stack:
        try:
            association = stack.enter_context(associate(peer, contexts, **options))
        except NoContextError:
            accepted = []
        else:
            accepted = association.accepted_contexts
        if not any(context.abstract_syntax == model for context in accepted):
            raise CannotTellError(f"{peer} does not offer {syntax_name(model)}")
        yield association


def _keys(instance: Instance) -> Dataset:
    """The identifier for one instance. Peers without relational queries need the unique keys of all levels above."""
    keys = Dataset()
    keys.QueryRetrieveLevel = "IMAGE"
    keys.SOPInstanceUID = instance.sop_instance_uid
    try:
        with quiet():
            header: Dataset = dcmread(
                instance.path,
                force=True,
                stop_before_pixels=True,
                specific_tags=["StudyInstanceUID", "SeriesInstanceUID"],
            )
    except OSError:
        # Then the peer is asked with what is known without the file.
        header = Dataset()
        if instance.study_instance_uid:
            header.StudyInstanceUID = instance.study_instance_uid
    with quiet():
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            if uid := header.get(keyword):
                setattr(keys, keyword, uid)
    return keys


def _must_be_open(association: Association) -> None:
    if not association.is_established:
        raise UnreachableError("the association ended before all was asked")


def _must_not_fail(status: Dataset, what: str, tolerated: tuple[int, ...] = ()) -> None:
    code = status.get("Status")
    if code is None:
        raise UnreachableError(f"no response to {what}")
    if code_to_category(code) in ("Failure", "Cancel") and code not in tolerated:
        raise CannotTellError(f"{what} failed with status {code:04X}", status=code)


class _Comparison:
    """Compares what comes back during a C-GET with what is expected; memory stays flat."""

    def __init__(self) -> None:
        self._expected: Instance | None = None
        self._results: list[bool] = []

    def expect(self, instance: Instance) -> None:
        """Say what is asked for next."""
        self._expected, self._results = instance, []

    def held(self) -> Held:
        """What came of it."""
        if not self._results:
            return Held.ABSENT
        return Held.SAME if any(self._results) else Held.OTHER

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Let pynetdicom write incoming data sets to a file instead of into memory.

        The switch is global to the process. Where another association of it receives meanwhile, it does so by file too.
        """
        before = _config.STORE_RECV_CHUNKED_DATASET
        _config.STORE_RECV_CHUNKED_DATASET = True
        try:
            yield
        finally:
            _config.STORE_RECV_CHUNKED_DATASET = before

    def receive(self, event: evt.Event) -> int:
        """Handle one C-STORE sub-operation."""
        expected = self._expected
        if expected is None or cast(C_STORE, event.request).AffectedSOPInstanceUID != expected.sop_instance_uid:
            return 0xA900
        self._results.append(_is_same(expected, event.dataset_path, str(event.context.transfer_syntax)))
        return 0x0000


def _is_same(expected: Instance, received: Path, syntax: str) -> bool:
    if file_sha256(received, _offset(received)) == expected.content_sha256:
        return True
    if not expected.path.exists():
        return False
    if syntax == expected.transfer_syntax_uid:
        return same_elements(received, expected.path)
    if syntax not in UNCOMPRESSED:
        # Nobody turned it into that on the way here: another object under the same UID.
        return False
    with TemporaryDirectory(prefix="quintet-compare-") as folder, suppress(UndecodableError):
        turned = Path(folder) / "turned.dcm"
        transcode(expected, syntax, turned)
        if file_sha256(received, _offset(received)) == file_sha256(turned, _offset(turned)):
            return True
        return same_elements(received, turned)
    return False
