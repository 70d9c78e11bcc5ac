"""A dustbin file that former rules sent differently: all of its deliveries count."""

from blocks.engine import session
from tasks.dicom.core.tables import Delivery, DeliveryState, Output
from tasks.dicom.disposal import dispose_file
from tests.dicom.disposal.conftest import Clock
from tests.dicom.disposal.gateway import NOW, STUDY, VERIFIED, Gateway, sha256
from tests.dicom.disposal.test_dustbin import DAY, clean


def test_a_file_sent_twice_to_one_destination_is_deleted_when_both_are_verified(gateway: Gateway, clock: Clock) -> None:
    key = gateway.receive(deliveries=VERIFIED, modified=True)
    dispose_file.fn(key)
    gateway.deliver(key, archive=DeliveryState.DEAD)
    with session("dicom") as opened:
        # As it was, under former rules.
        former = Output(
            path=gateway.entry(key).path,
            content_sha256=sha256(b"pixels"),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=f"{STUDY}.6",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            size=6,
        )
        opened.add(former)
        opened.flush()
        opened.add(
            Delivery(
                output_id=former.id,
                destination="archive",
                sop_instance_uid=former.sop_instance_uid,
                content_sha256=former.content_sha256,
                state=DeliveryState.VERIFIED,
            )
        )
    clock.now = NOW + 31 * DAY
    assert clean() == {"refused": 1}
    gateway.deliver(key, archive=DeliveryState.VERIFIED)
    assert clean() == {"marked": 1}
