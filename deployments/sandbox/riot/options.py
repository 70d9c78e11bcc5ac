"""What the sandbox is told, on the command line, by tests and at run time; the defaults are those of a good Riot."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Any, Literal

from deployments.sandbox.riot.buckets import Windows, read_windows

#: Regional route of each platform that the corpus may use.
REGION_OF = {
    **dict.fromkeys(("na1", "br1", "la1", "la2"), "americas"),
    **dict.fromkeys(("euw1", "eun1", "tr1", "ru", "me1"), "europe"),
    **dict.fromkeys(("kr", "jp1"), "asia"),
    **dict.fromkeys(("oc1", "sg2", "tw2", "vn2"), "sea"),
}

#: Windows of each method at Riot.
METHOD_WINDOWS: dict[str, Windows] = {
    "account-v1.getByRiotId": ((1000, 60.0),),
    "account-v1.getByPuuid": ((1000, 60.0),),
    "summoner-v4.getByPUUID": ((1600, 60.0),),
    "league-v4.getLeagueEntriesByPUUID": ((20_000, 10.0), (1_200_000, 600.0)),
    "champion-mastery-v4.getAllChampionMasteriesByPUUID": ((20_000, 10.0), (1_200_000, 600.0)),
    "champion-mastery-v4.getTopChampionMasteriesByPUUID": ((20_000, 10.0), (1_200_000, 600.0)),
    "match-v5.getMatchIdsByPUUID": ((2000, 10.0),),
    "match-v5.getMatch": ((2000, 10.0),),
    "match-v5.getTimeline": ((2000, 10.0),),
    "lol-status-v4.getPlatformData": ((20_000, 10.0), (1_200_000, 600.0)),
}

#: Headings of `--help`, each before the option that it begins with.
_GROUPS = {"seed": "players and matches", "keys": "keys and limits", "latency": "the line, and what goes wrong"}

DEVELOPMENT_WINDOWS: Windows = ((20, 1.0), (100, 120.0))
DEFAULT_KEY = "RGAPI-5a4db0c5-0000-4000-8000-000000000001"


class OptionError(ValueError):
    """An option the sandbox does not know, or a value that it cannot take; the text says which."""


def _about(text: str, *, metavar: str | None = None, live: bool = True) -> dict[str, Any]:
    """What `--help` says of an option; `live` ones can be changed at run time."""
    return {"about": text, "metavar": metavar, "live": live}


@dataclass(frozen=True, kw_only=True)
class SandboxOptions:
    """All options; see `--help`, which is made of this."""

    seed: int = field(default=1, metadata=_about("everything is made from it", live=False))
    players: int = field(
        default=200, metadata=_about("players there are; from 150 on they live on five platforms", live=False)
    )
    matches: int = field(default=200, metadata=_about("matches the main player took part in", live=False))
    platform: str = field(default="na1", metadata=_about("where the main player plays now", live=False))
    game_name: str = field(default="Nøkken 夜の猫", metadata=_about("the main player's game name", live=False))
    tag_line: str = field(default="NA1", metadata=_about("the main player's tagline", live=False))
    reference_date: date = field(
        default=date(2026, 11, 1),
        metadata=_about("matches are spread over the three years before this day", live=False),
    )
    edge_cases: bool = field(
        default=True, metadata=_about("aborted, Arena, Swarm, bot and old games, New Year, twins...", live=False)
    )
    kinds: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "kind of the main player's newest matches; repeat it, newest first", metavar="KIND", live=False
        ),
    )
    other_region_rate: float = field(
        default=0.0,
        metadata=_about(
            "part of the matches that are listed here but were played on another region's platform", live=False
        ),
    )
    missing_match_rate: float = field(
        default=0.01, metadata=_about("part of the matches that answer 404 for ever", live=False)
    )
    missing_timeline_rate: float = field(default=0.01, metadata=_about("part of the timelines that do", live=False))
    late_match_rate: float = field(
        default=0.01, metadata=_about("part of the matches that answer 404 at first", live=False)
    )
    late_requests: int = field(default=1, metadata=_about("how often those answer 404, match and timeline each"))
    timeline_frames: int = field(
        default=60, metadata=_about("frames a timeline has at most; few make it small", live=False)
    )

    keys: tuple[str, ...] = field(
        default=(DEFAULT_KEY,), metadata=_about("an API key; repeat it for more", metavar="KEY", live=False)
    )
    expired: bool = field(default=False, metadata=_about("all keys have expired: 403"))
    app: Windows = field(
        default=DEVELOPMENT_WINDOWS, metadata=_about("application windows, requests:seconds", metavar="20:1,100:120")
    )
    method: dict[str, Windows] = field(
        default_factory=lambda: dict(METHOD_WINDOWS),
        metadata=_about("method windows: of all methods, or of one as match-v5.getMatch=2000:10", metavar="WINDOWS"),
    )
    windows: Literal["fixed", "sliding"] = field(default="fixed", metadata=_about("how a window counts"))
    rate_headers: bool = field(default=True, metadata=_about("send the headers with limits and counts"))
    header_order: Literal["given", "reversed", "shuffled"] = field(
        default="given", metadata=_about("order of windows in headers")
    )
    retry_after: bool = field(default=True, metadata=_about("send Retry-After with a 429"))
    blacklist_after: int = field(
        default=0, metadata=_about("answer 403 after this many 429s in a row; 0 never does", metavar="N")
    )

    latency: tuple[float, float] = field(
        default=(0.0, 0.0), metadata=_about("one-way latency in seconds, uniform between the two", metavar="A:B")
    )
    error_rate: float = field(
        default=0.0, metadata=_about("part of the requests answered 500, 502 or 503, some with HTML")
    )
    service_429_rate: float = field(
        default=0.0, metadata=_about("part answered 429 by the service: no type, no Retry-After")
    )
    broken_rate: float = field(default=0.0, metadata=_about("part whose connection breaks before an answer"))
    truncated_rate: float = field(default=0.0, metadata=_about("part whose body ends early"))
    trickle_rate: float = field(default=0.0, metadata=_about("part whose body trickles"))
    trickle_bytes: int = field(default=20_000, metadata=_about("bytes a second of a trickling body"))
    ignore_start_time: bool = field(
        default=False, metadata=_about("lists of match ids ignore startTime, as Riot's did at times")
    )

    def __post_init__(self) -> None:
        if self.platform not in REGION_OF:
            raise OptionError(f"platform: one of {', '.join(REGION_OF)}")
        if self.players < 40:
            raise OptionError("players: at least 40, or a match of 16 has too few")
        if not self.keys:
            raise OptionError("keys: at least one")
        for each in fields(self):
            if each.name.endswith("_rate") and not 0 <= getattr(self, each.name) <= 1:
                raise OptionError(f"{each.name}: between 0 and 1")
        if self.windows not in ("fixed", "sliding") or self.header_order not in ("given", "reversed", "shuffled"):
            raise OptionError("windows: fixed or sliding; header_order: given, reversed or shuffled")
        for name, least in (("matches", 0), ("timeline_frames", 2), ("trickle_bytes", 1), ("late_requests", 0)):
            if getattr(self, name) < least:
                raise OptionError(f"{name}: at least {least}")
        if not 0 <= self.latency[0] <= self.latency[1]:
            raise OptionError("latency: two numbers, the smaller one first")

    def changed(self, told: Mapping[str, object]) -> "SandboxOptions":
        """These options with some changed at run time, as texts or JSON values.

        Raises:
            OptionError: a name is unknown or fixed at the start, or a value is none.
        """
        values: dict[str, Any] = {}
        for name, value in told.items():
            known = next((each for each in fields(self) if each.name == name), None)
            if known is None or not known.metadata["live"]:
                raise OptionError(f"{name}: cannot be set at run time")
            if name == "method":
                texts = [value] if isinstance(value, str) else value
                if isinstance(texts, dict):
                    texts = [f"{method}={windows}" for method, windows in texts.items()]
                if not isinstance(texts, list):
                    raise OptionError("method: windows, or an object of them by method")
                values[name] = read_methods([str(text) for text in texts], self.method)
            else:
                values[name] = _read(name, known.default, value)
        return replace(self, **values)


def read_methods(texts: Sequence[str], before: Mapping[str, Windows] = METHOD_WINDOWS) -> dict[str, Windows]:
    """Method windows from texts like `2000:10` (all methods) and `match-v5.getMatch=2000:10`.

    Raises:
        OptionError: a method is unknown, or windows are none.
    """
    found = dict(before)
    for text in texts:
        name, equals, windows = text.rpartition("=")
        if equals and name not in found:
            raise OptionError(f"method: {name} is none of {', '.join(found)}")
        for method in [name] if equals else list(found):
            found[method] = _read("method", (), windows)
    return found


def _read(name: str, default: object, value: object) -> Any:
    """A value as the type of the option's default."""
    try:
        if name in ("app", "method"):
            return read_windows(str(value))
        if name == "latency":
            low, _, high = str(value).partition(":")
            return (float(low), float(high or low))
        if isinstance(default, bool):
            return {"on": True, "true": True, "off": False, "false": False}[str(value).lower()]
        if isinstance(default, date):
            return date.fromisoformat(str(value))
        if isinstance(default, tuple):
            return tuple(value) if isinstance(value, (list, tuple)) else (str(value),)
        return type(default)(value)  # type: ignore[call-arg]
    except (KeyError, TypeError, ValueError) as error:
        raise OptionError(f"{name}: {value!r} is no value for it") from error


def from_command_line(arguments: Sequence[str] | None = None) -> tuple[SandboxOptions, int]:
    """The options and the port."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.sandbox.riot",
        usage="%(prog)s [--port PORT] [options]",
        description="A stand-in for the Riot API. Prints one line of JSON when it is ready; SIGTERM ends it.",
        epilog="Ask it at run time: GET /__truth (?times=1, ?riot_id=Name#TAG, ?key=...), POST /__reset, POST /__set "
        '{"app": "500:10"}, POST /__play {"n": 3}, POST /__rename {"game_name": "New", "tag_line": "NA1"}.',
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    group: argparse._ActionsContainer = parser
    for each in fields(SandboxOptions):
        if each.name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[each.name])
        flag = "--" + {"keys": "key", "kinds": "kind"}.get(each.name, each.name).replace("_", "-")
        about, metavar = each.metadata["about"], each.metadata["metavar"]
        if each.name in ("keys", "kinds", "method"):
            group.add_argument(flag, dest=each.name, action="append", metavar=metavar, help=about)
        elif isinstance(each.default, bool):
            shown = "on" if each.default else "off"
            group.add_argument(
                flag, dest=each.name, nargs="?", const="on", metavar="on|off", help=f"{about} (default {shown})"
            )
        else:
            choices = {"windows": ["fixed", "sliding"], "header_order": ["given", "reversed", "shuffled"]}
            shown = {"app": "20:1,100:120", "latency": "0:0"}.get(each.name, str(each.default))
            group.add_argument(
                flag, dest=each.name, metavar=metavar, choices=choices.get(each.name), help=f"{about} (default {shown})"
            )
    told = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    port = told.pop("port")
    try:
        values: dict[str, Any] = {
            each.name: read_methods(told[each.name])
            if each.name == "method"
            else _read(each.name, each.default, told[each.name])
            for each in fields(SandboxOptions)
            if each.name in told
        }
        return SandboxOptions(**values), port
    except OptionError as error:
        parser.error(str(error))


def as_json(options: SandboxOptions) -> dict[str, Any]:
    """The options as JSON values; not the keys."""
    values = {each.name: getattr(options, each.name) for each in fields(options) if each.name != "keys"}
    return {**values, "reference_date": options.reference_date.isoformat()}
