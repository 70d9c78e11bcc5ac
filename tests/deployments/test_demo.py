"""The whole product as a new user meets it: `quintet demo`, its counts, and what then stands in the Prefect UI."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import pytest

from tests.dicom_peers import debian_program

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Generous for a loaded machine; alone it takes about a minute.
DEMO_SECONDS = 360


class Demo(NamedTuple):
    """A demo that is still up."""

    #: What it said of each domain.
    answers: dict[str, dict[str, Any]]
    #: Environment in which its server is the one in use.
    environment: dict[str, str]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`quintet demo --json --keep`, run from an empty folder."""
    folder = tmp_path_factory.mktemp("empty")
    temporary = tmp_path_factory.mktemp("temporary")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("QUINTET_", "PREFECT_"))
    } | {"TMPDIR": str(temporary)}
    said = folder.with_suffix(".log")
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "demo", "--json", "--keep"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, said.read_text()
        answers = json.loads(line)
        (home,) = temporary.glob("quintet-demo-*/home")
        api = answers["dicom"]["ui"].split("/artifacts")[0] + "/api"
        yield Demo(answers, environment | {"QUINTET_HOME": str(home), "PREFECT_API_URL": api})
        # Not Ctrl-C: whoever runs the tests in the background of a shell has it ignored in all that they start.
        process.terminate()
        process.wait(120)
        process.stdout.close()


def quintet(demo: Demo, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deployments.cli", *arguments],
        env=demo.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(DEMO_SECONDS)
def test_everything_adds_up(demo: Demo) -> None:
    answer = demo.answers["dicom"]
    assert answer["ok"] is True, answer
    assert (answer["lost"], answer["duplicates"], answer["unsettled"]) == (0, 0, 0)
    assert answer["sent"] == answer["received"] == answer["disposed"] + answer["quarantined"]
    assert answer["delivered"] == answer["verified"] > answer["sent"], "most go to two destinations"
    assert answer["quarantined"] >= 5 and answer["associations"] >= 2


def test_a_player_is_synced_recovered_and_synced_again(demo: Demo) -> None:
    answer = demo.answers["league"]
    assert answer["ok"] is True, answer
    assert (answer["lost"], answer["duplicates"], answer["http_429"]) == (0, 0, 0)
    assert answer["listed"] == 200 and answer["damaged_and_recovered"] is True
    assert answer["matches"] + answer["timelines"] + answer["not_found"] == 400
    assert (answer["second_sync_id_requests"], answer["second_sync_match_requests"]) == (1, 0)


def test_a_market_is_followed_through_faults(demo: Demo) -> None:
    answer = demo.answers["traders"]
    assert answer["ok"] is True, answer
    assert (answer["lost"], answer["duplicates"], answer["http_429"], answer["drifted"]) == (0, 0, 0, 0)
    assert answer["received"] == answer["trades"] + answer["repeated"] + answer["rejected"]
    assert answer["connections"] >= 2 and answer["gaps_filled"] >= 1
    assert answer["position_changes"] == answer["published"] > answer["trades"]
    assert answer["traders"] == 40 and answer["ranked"] >= 30


@contextmanager
def newest_artifact(ui: str) -> "Iterator[Page]":
    """The newest artifact of a key, opened in a browser by its link, as a person would."""
    from playwright.sync_api import sync_playwright

    chromium = debian_program("/usr/bin/chromium")
    flags = (
        *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync"),
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(flags))
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(ui)
        link = page.locator("a[href*='/artifacts/artifact/']").first.get_attribute("href", timeout=30_000)
        page.goto(urljoin(ui, link or ""))
        yield page
        browser.close()


def test_the_table_of_an_association_is_in_the_prefect_ui(demo: Demo, tmp_path: Path) -> None:
    """A screenshot of the artifact; the text in the page is what a person reads."""
    with newest_artifact(demo.answers["dicom"]["ui"]) as page:
        page.get_by_text("DISPOSED", exact=True).first.wait_for(timeout=30_000)
        text = page.inner_text("body")
        page.screenshot(path=tmp_path / "association.png")
    assert "is DONE" in text
    assert "files:" in text and "deliveries verified" in text and "0 dead" in text
    for heading in ("file", "state", "reason", "destinations", "rules", "study"):
        assert heading in text
    assert "archive VERIFIED, shelf VERIFIED" in text
    for name in ("CompressedSamples", "Yamada", "Doe"):
        assert name not in text, "no patient names"
    assert (tmp_path / "association.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_of_the_player_is_in_the_prefect_ui(demo: Demo) -> None:
    """With its plots, which the browser really draws."""
    with newest_artifact(demo.answers["league"]["ui"]) as page:
        page.locator("img[src^='data:image/png']").nth(1).wait_for(timeout=30_000)
        widths = page.eval_on_selector_all(
            "img[src^='data:image/png']", "pictures => pictures.map(picture => picture.naturalWidth)"
        )
        text = page.inner_text("body")
    assert len(widths) >= 2 and min(widths) > 300
    assert "Nøkken 夜の猫#NA1" in text and "KDA over time" in text
    assert "&#" not in text, "a character reference that Prefect's UI shows as it is written"


def test_the_leaderboard_is_in_the_prefect_ui(demo: Demo) -> None:
    """With equity curves and the scores taken apart, which the browser really draws."""
    with newest_artifact(demo.answers["traders"]["ui"]) as page:
        page.locator("img[src^='data:image/png']").nth(1).wait_for(timeout=30_000)
        widths = page.eval_on_selector_all(
            "img[src^='data:image/png']", "pictures => pictures.map(picture => picture.naturalWidth)"
        )
        text = page.inner_text("body")
    assert len(widths) == 2 and min(widths) > 300
    assert "of 40 traders are ranked" in text and "Profile balanced" in text and "Sharpe, shrunk" in text
    assert "&#" not in text, "a character reference that Prefect's UI shows as it is written"


@pytest.mark.parametrize("name", ["worker", "dicom-listener"])
def test_no_log_of_ours_holds_a_traceback_or_a_warning(demo: Demo, name: str) -> None:
    """Prefect's server on SQLite does log some of its own, which it retries."""
    for log in (Path(demo.environment["QUINTET_HOME"]) / "logs").glob(f"{name}*.log"):
        said = log.read_text()
        assert "Traceback" not in said and "Warning" not in said, said[-4000:]


def test_status_tells_what_a_finished_run_did(demo: Demo) -> None:
    import httpx

    runs = httpx.post(
        demo.environment["PREFECT_API_URL"] + "/flow_runs/filter",
        json={"flows": {"name": {"any_": ["dicom-process-association"]}}},
    ).json()
    said = quintet(demo, "status", runs[0]["id"], "--json")
    assert said.returncode == 0, said.stderr
    status = json.loads(said.stdout)
    assert status["state"].upper() == "COMPLETED" and status["progress"]["percent"] == 100


def test_a_second_apply_changes_nothing(demo: Demo) -> None:
    said = quintet(demo, "apply")
    assert said.returncode == 0 and "nothing changed" in said.stdout, said.stdout + said.stderr


def test_the_doctor_finds_nothing_wrong(demo: Demo) -> None:
    said = quintet(demo, "doctor")
    assert said.returncode == 0, said.stdout + said.stderr
