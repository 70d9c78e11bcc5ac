"""The flow `dicom-clean-dustbin`, on a Prefect server: its artifact, its dry run, its alarm."""

import json

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from flows.dicom.dustbin import DustbinAlarmError, clean_dustbin
from tasks.dicom.disposal import dispose_files
from tasks.dicom.dustbin import hold_file
from tests.dicom.disposal.conftest import Clock
from tests.dicom.disposal.gateway import NOW, VERIFIED, Gateway


async def table() -> tuple[list[dict[str, str]], str]:
    """The newest table that the flow left, and the text above it."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["dicom-dustbin"])),
            sort=ArtifactSort.CREATED_DESC,
            limit=1,
        )
    rows: list[dict[str, str]] = json.loads(str(found[0].data))
    return rows, found[0].description or ""


# All of them are connections to the Prefect server, which its own client leaves to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
async def test_the_flow_reports_then_marks_then_deletes_then_alarms(
    prefect_api: str, gateway: Gateway, clock: Clock
) -> None:
    keys = [gateway.receive(b"DOE^JANE %d" % n, deliveries=VERIFIED, sop=f"1.2.{n}") for n in range(3)]
    dispose_files.fn(keys)
    hold_file(keys[0], "case 42")
    clock.now = NOW.replace(month=6)

    assert {name: n for name, n in (await clean_dustbin()).items() if n} == {"marked": 2, "held": 1}
    assert gateway.entry(keys[1]).marked_at is None
    rows, text = await table()
    assert [row["outcome"] for row in rows] == ["held", "marked", "marked"]
    assert "Dry run, nothing was changed" in text
    assert "The dustbin holds 3 files" in text
    assert "DOE" not in json.dumps(rows) + text

    await clean_dustbin(dry_run=False)
    clock.now = NOW.replace(month=7)
    assert (await clean_dustbin(dry_run=False))["deleted"] == 2
    assert [gateway.has_entry(key) and gateway.entry(key).deleted_at is not None for key in keys] == [False, True, True]

    (gateway.home / gateway.receipt(keys[0]).path).unlink()
    with pytest.raises(DustbinAlarmError, match="1 files in the dustbin are missing or changed"):
        await clean_dustbin()
    rows, _ = await table()
    assert rows[0]["outcome"] == "alarm"
