"""prefect.yaml: every key known, every deployment sound, every name declared and used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.flows import Flow

import flows
import tasks
from deployments.catalogue import prefect_yaml_path, read_automations, read_catalogue
from deployments.catalogue.checks import catalogue_problems, load_flow
from deployments.errors import ConfigurationError
from deployments.limits import LIMITS
from deployments.work_pools import WORK_POOL, WORK_QUEUES

ROOT = Path(flows.__file__).parent.parent
CODE = [file for package in ("blocks", "tasks", "flows", "deployments") for file in (ROOT / package).rglob("*.py")]


def _broken(tmp_path: Path, old: str, new: str) -> Path:
    text = prefect_yaml_path().read_text()
    assert old in text
    path = tmp_path / "prefect.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_it_is_sound() -> None:
    assert catalogue_problems(read_catalogue()) == []


def test_prefect_reads_the_same() -> None:
    """Prefect's own loader (PyYAML, its own model) sees what ours (ruamel) does, anchors and all."""
    loaded = yaml.safe_load(prefect_yaml_path().read_text())
    assert loaded == read_catalogue().document.data
    assert PrefectYamlModel.model_validate(loaded).deployments == read_catalogue().deployments


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("concurrency_limit:", "concurency_limit:", "did you mean `concurrency_limit`?"),
        ("schedules:", "shedules:", "did you mean `schedules`?"),
        ("work_queue_name:", "work_queue:", "did you mean `work_queue_name`?"),
        ("collision_strategy:", "colision_strategy:", "did you mean `collision_strategy`?"),
        ("timezone:", "time_zone:", "did you mean `timezone`?"),
        ("threshold:", "treshold:", "did you mean `threshold`?"),
        ("job_variables:", "job_variable:", "did you mean `job_variables`?"),
        ("env:", "enviroment:", "unknown key"),
        ("pull: []", "pul: []", "did you mean `pull`?"),
        ("FLOWS_DEFAULT_RETRIES:", "FLOWS_DEFAULT_RETRYS:", "did you mean `PREFECT_FLOWS_DEFAULT_RETRIES`?"),
        ("type: event", "type: evnt", "'evnt' is not one of"),
        ("tags: [quintet, dicom]", "tags: 5", "Input should be"),
        ("deployments:", "deployments: [", "no valid YAML"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(old: str, new: str, told: str, tmp_path: Path) -> None:
    path = _broken(tmp_path, old, new)
    text = path.read_text()
    line = text[: text.index(new)].count("\n") + 1
    with pytest.raises(ConfigurationError) as error:
        read_catalogue(path)
    assert told in str(error.value)
    # A YAML parser notices an open bracket only where something follows that does not fit.
    assert str(error.value).startswith("prefect.yaml:" if "YAML" in told else f"prefect.yaml:{line}: ")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("sweeps.sweep_associations", "sweeps.sweep_everything", "cannot be imported"),
        ("flows.dicom.sweeps.sweep_associations", "flows/dicom/sweeps.py:sweep", "is no module path"),
        ("flows.dicom.sweeps.sweep_associations", "deployments.cli.main", "is a function, not a flow"),
        ("dry_run: false", "dry_ran: false", "has no such parameter"),
        ("dry_run: false", "dry_run: maybe", "Input should be a valid boolean"),
        ("work_queue_name: dicom\n", "work_queue_name: dicon\n", "'dicon' is not declared"),
        ("name: quintet\n      work", "name: quartet\n      work", "must be `quintet`"),
        ("timezone: UTC", "timezone: CEST", "'CEST' is no time zone"),
        ("        timezone: UTC\n", "", "None is no time zone"),
        ("        active: true\n", "", "say `active: true`"),
        ('cron: "* * * * *"', 'cron: "* * * *"', "no valid schedule"),
        ('cron: "* * * * *"', "interval: 60", "an interval needs an `anchor_date`"),
        ("active: true", "active: true\n        slug: tick", "use no slugs"),
        ("      - name: dicom-sweep-when-a-destination-recovers\n        type", "      - type", "needs a `name`"),
        ("[quintet, dicom]", "[dicom]", "the tag `quintet` is missing"),
        ("name: daily", "name: every-minute\n    flow_name: other", "`flow_name` is not used"),
        ("flows.dicom.dustbin.clean_dustbin", "flows.dicom.sweeps.sweep_associations", "has no such parameter"),
        (
            "name: daily\n    entrypoint: flows.dicom.dustbin.clean_dustbin",
            "name: every-minute\n    entrypoint: flows.dicom.sweeps.sweep_associations",
            "is declared twice",
        ),
        ("pull: []", "pull: null", "write `pull: []`"),
    ],
)
def test_what_does_not_fit_the_code_is_told(old: str, new: str, told: str, tmp_path: Path) -> None:
    problems = catalogue_problems(read_catalogue(_broken(tmp_path, old, new)))
    assert any(told in problem for problem in problems), problems
    assert all(re.match(r"prefect\.yaml:\d+: ", problem) for problem in problems)


def test_a_misspelt_key_in_automations_is_told(tmp_path: Path) -> None:
    path = tmp_path / "automations.yaml"
    for wrong, told in (
        ("- name: a\n  trigger: {type: event, expct: [x]}\n  actions: []\n", "did you mean `expect`?"),
        ("- name: a\n  triger: {}\n  actions: []\n", "did you mean `trigger`?"),
        ("- name: a\n  trigger: {type: event}\n  actions: [{type: do-nothin}]\n", "is not one of"),
        ("- name: a\n  trigger: {type: event}\n  actions: [{type: do-nothing, x: 1}]\n", "unknown key"),
        ("- name: a\n  trigger: {type: event}\n  actions: []\n" * 2, "two automations"),
        ("a: 1\n", "must be a list"),
    ):
        path.write_text(wrong)
        with pytest.raises(ConfigurationError, match=re.escape(told)):
            read_automations(path)


def _flows() -> Iterator[tuple[str, Flow[..., Any]]]:
    for file in sorted((ROOT / "flows").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and any(
                "flow" in ast.unparse(decorator).split("(")[0].split(".") for decorator in node.decorator_list
            ):
                entrypoint = f"{module}.{node.name}"
                yield entrypoint, load_flow(entrypoint)


def test_every_flow_is_deployed() -> None:
    deployed = {raw["entrypoint"] for raw in read_catalogue().raw}
    assert {entrypoint for entrypoint, _ in _flows()} == deployed


def test_flow_names_say_their_domain_and_are_unique() -> None:
    found = list(_flows())
    assert len({flow.name for _, flow in found}) == len(found)
    for entrypoint, flow in found:
        assert flow.name.startswith(f"{entrypoint.split('.')[1].replace('_', '-')}-")
        assert flow.isasync, f"{entrypoint}: a sync flow waits up to a second at its end for the heartbeat thread"
        assert flow.description, f"{entrypoint}: the docstring is what users read in the UI"


def test_queues_are_declared_once_and_all_used() -> None:
    used = {raw["work_pool"]["work_queue_name"] for raw in read_catalogue().raw}
    assert used == {queue.name for queue in WORK_QUEUES}
    assert len({queue.priority for queue in WORK_QUEUES}) == len(WORK_QUEUES)
    assert {raw["work_pool"]["name"] for raw in read_catalogue().raw} == {WORK_POOL}


#: Functions that take slots by the limit's name: Prefect's own, and those of ours that pass the name on to them.
TAKING = ("concurrency", "rate_limit")
PASSING = ("take_slot", "slot_or_skipped")


def _limits_in_code() -> Iterator[tuple[Path, str, bool]]:
    """File, name and strictness of every slot that code takes with a constant or a module's constant."""
    for file in CODE:
        tree = ast.parse(file.read_text())
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id not in (*TAKING, *PASSING):
                    continue
                strict = node.func.id in PASSING or any(
                    word.arg == "strict" and ast.unparse(word.value) == "True" for word in node.keywords
                )
                name = node.args[0]
                if function.name in PASSING and ast.unparse(name) == function.args.args[0].arg:
                    assert strict, f"{file}: a limit that is missing must be an error"
                    continue
                value = name.value if isinstance(name, ast.Constant) else constants.get(ast.unparse(name))
                assert isinstance(value, str), f"{file}: take slots by a constant of the module, so that it is checked"
                yield file, value, strict


def test_limits_are_declared_used_and_taken_strictly() -> None:
    taken = list(_limits_in_code())
    assert {name for _, name, _ in taken} == {limit.name for limit in LIMITS}
    assert [file for file, _, strict in taken if not strict] == []


def test_every_event_that_a_trigger_waits_for_is_sent_by_the_code() -> None:
    expected = {
        event for raw in read_catalogue().raw for trigger in raw.get("triggers") or [] for event in trigger["expect"]
    } | {event for automation in read_automations() for event in getattr(automation.trigger, "expect", ())}
    texts = "\n".join(file.read_text() for file in CODE)
    assert [event for event in sorted(expected) if event.startswith("quintet.") and f'"{event}"' not in texts] == []


def test_tasks_package_reexports_nothing_but_tasks() -> None:
    for stub in Path(tasks.__file__).parent.glob("*/__init__.pyi"):
        for node in ast.parse(stub.read_text()).body:
            assert isinstance(node, ast.ImportFrom), f"{stub}: only re-exports"
