"""Keys, limits and their headers, on a clock of the test's own."""

import httpx
import pytest

from deployments.sandbox.riot.application import Sandbox
from deployments.sandbox.riot.options import OptionError, SandboxOptions, from_command_line
from tests.sandbox.riot.calls import Caller, Clock

STATUS = "/na1/lol/status/v4/platform-data"


def a_caller(clock: Clock, **options: object) -> Caller:
    return Caller(Sandbox(SandboxOptions(matches=5).changed(options), clock))


def rate_headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if "rate-limit" in name or name == "retry-after"}


async def test_limits_hold_count_rejected_requests_and_end() -> None:
    clock = Clock()
    caller = a_caller(clock, app="3:10,100:120")
    answers = [await caller.get(STATUS) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert rate_headers(answers[0]) == {
        "x-app-rate-limit": "3:10,100:120",
        "x-app-rate-limit-count": "1:10,1:120",
        "x-method-rate-limit": "20000:10,1200000:600",
        "x-method-rate-limit-count": "1:10,1:600",
    }
    assert rate_headers(answers[-1])["x-app-rate-limit-count"] == "5:10,5:120"
    assert rate_headers(answers[-1])["x-rate-limit-type"] == "application"
    assert answers[-1].json() == {"status": {"message": "Rate limit exceeded", "status_code": 429}}
    clock.now += 7.5
    assert (await caller.get(STATUS)).headers["retry-after"] == "3"
    clock.now += 2.5
    assert (await caller.get(STATUS)).status_code == 200
    totals = (await caller.truth())["totals"]
    assert totals["http_429"] == {"application": 3, "method": 0, "service": 0}
    assert (totals["admitted"], totals["rejected"]) == (4, 3)


async def test_sliding_windows_on_demand() -> None:
    clock = Clock()
    caller = a_caller(clock, app="2:10", windows="sliding")
    statuses = []
    for moment in (0, 9, 10.5, 11, 19.5):
        clock.now = 1000 + moment
        statuses.append((await caller.get(STATUS)).status_code)
    # A fixed window would have let all of them in.
    assert statuses == [200, 200, 200, 429, 429]


async def test_a_method_has_limits_of_its_own_on_each_route() -> None:
    caller = a_caller(Clock(), app="100:1", method=["lol-status-v4.getPlatformData=1:60"])
    assert (await caller.get(STATUS)).status_code == 200
    rejected = await caller.get(STATUS)
    assert (rejected.status_code, rejected.headers["x-rate-limit-type"]) == (429, "method")
    assert rejected.headers["retry-after"] == "60"
    assert (await caller.get("/kr/lol/status/v4/platform-data")).status_code == 200
    summoner = f"/na1/lol/summoner/v4/summoners/by-puuid/{caller.player['puuid']}"
    assert (await caller.get(summoner)).headers["x-method-rate-limit"] == "1600:60"


async def test_limits_change_at_run_time() -> None:
    caller = a_caller(Clock(), app="10:10")
    for _ in range(4):
        assert (await caller.get(STATUS)).status_code == 200
    await caller.tell("/__set", app="3:10,50:60", retry_after="off")
    rejected = await caller.get(STATUS)
    assert rejected.status_code == 429
    assert rejected.headers["x-app-rate-limit-count"] == "5:10,1:60"
    assert "retry-after" not in rejected.headers
    await caller.tell("/__reset")
    assert (await caller.get(STATUS)).status_code == 200


@pytest.mark.parametrize("told", [{"seed": 2}, {"colour": "red"}, {"app": "x"}, {"error_rate": 2}, {"windows": "both"}])
async def test_what_cannot_be_set_is_a_400_and_changes_nothing(told: dict[str, object]) -> None:
    caller = a_caller(Clock())
    before = caller.sandbox.options
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await caller.tell("/__set", **told)
    assert caller.sandbox.options == before


@pytest.mark.parametrize("path", ["/na1/lol/summoner/v4/summoners/by-puuid/x", "/americas/lol/match/v5/matches/NA1_1"])
async def test_400_and_404_count_and_say_so(path: str) -> None:
    caller = a_caller(Clock(), app="100:1")
    await caller.get(path)
    answer = await caller.get(path)
    assert answer.status_code in (400, 404)
    assert answer.headers["x-app-rate-limit-count"] == "2:1"


async def test_bad_keys_count_nowhere_and_learn_nothing() -> None:
    caller = a_caller(Clock(), app="2:10")
    good = caller.key
    for key, status in ((None, 401), ("RGAPI-wrong", 403)):
        caller.key = key
        answer = await caller.get(STATUS)
        assert (answer.status_code, answer.json()["status"]["status_code"]) == (status, status)
        assert rate_headers(answer) == {}
    caller.key = good
    assert (await caller.get(STATUS)).headers["x-app-rate-limit-count"] == "1:10"
    await caller.tell("/__set", expired=True)
    assert (await caller.get(STATUS)).status_code == 403
    totals = (await caller.truth())["totals"]
    assert (totals["admitted"], totals["by_status"]) == (1, {"200": 1, "401": 1, "403": 2})


async def test_the_key_may_stand_in_the_query() -> None:
    caller = a_caller(Clock())
    key, caller.key = caller.key, None
    assert (await caller.get(STATUS, api_key=key)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/na1", "/na1/lol/status/v3/shard-data", f"{STATUS}/", "/na1//lol", "/eune/x"])
async def test_unknown_paths_are_forbidden_and_count_nowhere(path: str) -> None:
    caller = a_caller(Clock())
    answer = await caller.get(path)
    assert (answer.status_code, rate_headers(answer)) == (403, {})


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "HEAD"])
async def test_other_methods_than_get_are_refused(verb: str) -> None:
    assert (await a_caller(Clock()).send(verb, STATUS)).status_code == 405


async def test_too_many_429s_in_a_row_ban_the_key() -> None:
    clock = Clock()
    caller = a_caller(clock, app="1:10", blacklist_after=3)
    assert [(await caller.get(STATUS)).status_code for _ in range(3)] == [200, 429, 429]
    clock.now += 10
    # One that gets in ends the row.
    assert [(await caller.get(STATUS)).status_code for _ in range(5)] == [200, 429, 429, 429, 403]
    clock.now += 1000
    assert (await caller.get(STATUS)).status_code == 403
    await caller.tell("/__reset")
    assert (await caller.get(STATUS)).status_code == 200


async def test_headers_in_any_order_or_not_at_all() -> None:
    caller = a_caller(Clock(), app="20:1,100:120,7000:600", header_order="reversed")
    answer = await caller.get(STATUS)
    assert answer.headers["x-app-rate-limit"] == "7000:600,100:120,20:1"
    assert answer.headers["x-app-rate-limit-count"] == "1:600,1:120,1:1"
    await caller.tell("/__set", header_order="shuffled")
    for _ in range(5):
        answer = await caller.get(STATUS)
        limits, counts = answer.headers["x-app-rate-limit"], answer.headers["x-app-rate-limit-count"]
        assert sorted(limits.split(",")) == ["100:120", "20:1", "7000:600"]
        assert [limit.split(":")[1] for limit in limits.split(",")] == [
            count.split(":")[1] for count in counts.split(",")
        ]
    await caller.tell("/__set", rate_headers=False)
    assert rate_headers(await caller.get(STATUS)) == {}


async def test_the_service_says_neither_type_nor_when() -> None:
    caller = a_caller(Clock(), service_429_rate=1)
    answer = await caller.get(STATUS)
    assert answer.status_code == 429
    assert {"x-rate-limit-type", "retry-after"}.isdisjoint(answer.headers)
    assert (await caller.truth())["totals"]["http_429"] == {"application": 0, "method": 0, "service": 1}


async def test_servers_fail_with_json_and_html_but_without_limits() -> None:
    caller = a_caller(Clock(), app="1000:1", error_rate=1)
    answers = [await caller.get(STATUS) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {500, 502, 503}
    assert {answer.headers["content-type"] for answer in answers} == {"text/html", "application/json;charset=utf-8"}
    assert [rate_headers(answer) for answer in answers] == [{}] * 40
    await caller.tell("/__set", error_rate=0)
    assert (await caller.get(STATUS)).headers["x-app-rate-limit-count"] == "41:1"


async def test_times_of_each_bucket_are_told() -> None:
    clock = Clock()
    caller = a_caller(clock, app="2:10")
    for moment in (0, 1, 2):
        clock.now = 1000.0 + moment
        await caller.get(STATUS)
    assert "times" not in await caller.truth()
    here = (await caller.truth(times="1"))["times"]["na1"]
    assert (here["admitted"], here["rejected"]) == ([1000.0, 1001.0], [1002.0])
    assert here["methods"]["lol-status-v4.getPlatformData"] == {"admitted": [1000.0, 1001.0], "rejected": [1002.0]}
    assert (await caller.truth(key="RGAPI-unused"))["totals"]["requests"] == 0


async def test_the_truth_tells_the_options_and_no_key() -> None:
    caller = a_caller(Clock(), app="7:10")
    answer = await caller.get("/__truth")
    assert (answer.json()["options"]["app"], answer.json()["options"]["matches"]) == ([[7, 10.0]], 5)
    assert caller.key is not None
    assert caller.key not in answer.text


async def test_own_paths_need_no_key_and_unknown_ones_say_so() -> None:
    caller = a_caller(Clock())
    assert (await caller.get("/__stats")).status_code == 404
    assert (await caller.get("/__truth", riot_id="No#Body")).status_code == 400
    assert (await caller.truth())["totals"]["requests"] == 0


def test_the_command_line() -> None:
    arguments = (
        "--port 7 --app 500:10 --method 2000:60 --method match-v5.getMatch=5:1 --key A --key B --kind arena"
        " --latency 0.005:0.06 --retry-after off --ignore-start-time --edge-cases off --matches 3"
    )
    options, port = from_command_line(arguments.split())
    assert port == 7
    assert options.app == ((500, 10.0),)
    assert options.method["match-v5.getMatch"] == ((5, 1.0),)
    assert options.method["account-v1.getByPuuid"] == ((2000, 60.0),)
    assert (options.keys, options.kinds, options.latency) == (("A", "B"), ("arena",), (0.005, 0.06))
    assert (options.retry_after, options.ignore_start_time, options.edge_cases) == (False, True, False)


@pytest.mark.parametrize("arguments", [["--app", "x"], ["--error-rate", "2"], ["--method", "nothing=1:1"], ["--bogus"]])
def test_a_wrong_command_line_ends(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        from_command_line(arguments)
    assert arguments[0].strip("-").split("-")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "told",
    [{"platform": "xx1"}, {"players": 10}, {"keys": ()}, {"latency": (2, 1)}, {"matches": -1}, {"trickle_bytes": 0}],
)
def test_options_that_make_no_sense(told: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(told))):
        SandboxOptions(**told)  # type: ignore[arg-type]
