"""What a machine can check of `deploy/` without Docker, Kubernetes or AWS."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.s3 import S3ComputeLogManager
from moto.server import ThreadedMotoServer

from timestore_assets.settings import Settings
from timestore_assets_tests.support.catalogs import PostgresServer, fresh_database

PROJECT = Path(__file__).parents[2]
PACKAGED = PROJECT / "timestore_assets" / "cli" / "dagster_settings"
DEPLOY = PROJECT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
OURS = "timestore:0.1.0"
COMMANDS = {"timestore", "dagster", "dagster-webserver", "dagster-daemon", "python"}
PORTS = {"dagster-webserver": "3000", "timestore": "4100", "dagster": "4266"}


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def read(name: str) -> Any:
    return yaml.safe_load(text(name))


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment(aws: str, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What the files take from the environment, with a real database and a server that stands for AWS."""
    with fresh_database(postgres) as url:
        values = {
            "DAGSTER_DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg2:"),
            "DAGSTER_LOG_BUCKET": "logs",
            "DAGSTER_CODE_HOST": "127.0.0.1",
            "TIMESTORE_S3_BUCKET": "warehouse",
            "TIMESTORE_S3_ENDPOINT": aws,
            "TIMESTORE_S3_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": aws,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield values


@dg.job(executor_def=dg.in_process_executor)
def nothing() -> None:
    pass


# --- Dagster


@pytest.mark.parametrize("name", ["dagster.yaml", "compose/dagster.yaml"])
def test_dagster_loads_its_instance_and_stores_runs_there(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Loading checks every class's configuration against its own schema; the parts are made of it when they are asked for."""
    (tmp_path / "dagster.yaml").write_text(text(name), encoding="utf-8")
    for bucket in ("logs", "warehouse"):
        boto3.client("s3").create_bucket(Bucket=bucket)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
        assert isinstance(instance.run_launcher, EcsRunLauncher) == (name == "dagster.yaml")
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        run_id = nothing.execute_in_process(instance=instance).run_id
        assert instance.get_run_by_id(run_id) is not None
    assert not list(tmp_path.rglob("*.db"))


def test_a_misspelt_setting_of_a_class_is_found(environment: dict[str, str], tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    wrong = text("dagster.yaml").replace("include_sidecars:", "include_sidecar:")
    (tmp_path / "dagster.yaml").write_text(wrong, encoding="utf-8")
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        pytest.raises(dg.DagsterInvalidConfigError, match="include_sidecar"),
    ):
        _ = instance.run_launcher


def test_the_daemons_settings_are_those_of_the_project_where_they_need_not_differ() -> None:
    project = yaml.safe_load((PACKAGED / "dagster.yaml").read_text(encoding="utf-8"))
    for name in ("dagster.yaml", "compose/dagster.yaml"):
        deployed = read(name)
        assert set(project) <= set(deployed)
        for same in ("telemetry", "nux"):
            assert deployed[same] == project[same]
        assert deployed["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert read("workspace.yaml")["load_from"][0]["grpc_server"]["location_name"] == code_location()
    packaged = yaml.safe_load((PACKAGED / "workspace.yaml").read_text(encoding="utf-8"))
    assert packaged["load_from"][0]["python_module"]["location_name"] == code_location()


@pytest.mark.parametrize("name", ["workspace.yaml", "dagster.yaml"])
def test_a_checkouts_settings_are_those_of_the_wheel(name: str) -> None:
    """Two files and no link: a link does not survive every way a tree is carried (archives, patches, Windows)."""
    assert (PROJECT / name).read_bytes() == (PACKAGED / name).read_bytes()


def code_location() -> str:
    return str(tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dagster"]["code_location_name"])


# --- all files


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix in (".yaml", ".json")], ids=lambda path: path.name)
def test_it_parses(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_every_setting_that_is_named_exists() -> None:
    known = {f"TIMESTORE_{name.upper()}" for name in Settings.model_fields}
    named = {name for path in FILES for name in re.findall(r"\bTIMESTORE_[A-Z0-9_]+", path.read_text(encoding="utf-8"))}
    assert "TIMESTORE_DATABASE_URL" in named
    assert named <= known


def test_every_image_is_pinned() -> None:
    images = {
        image
        for path in FILES
        for image in re.findall(r"^\s*(?:- )?image: (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    images |= set(re.findall(r"^ARG PYTHON=(\S+)", text("Dockerfile"), re.MULTILINE))
    images |= {container["image"] for name in ("service", "dagster") for container in task(name)["containerDefinitions"]}
    images = {image for image in images if image[0] not in "&*"}
    assert len(images) >= 5
    for image in images:
        name, _, tag = image.rpartition(":")
        assert name and re.fullmatch(r"v?\d+\.\d+[\w.-]*", tag), image


def test_no_secret_is_in_a_file() -> None:
    for line in text(".env.example").splitlines():
        if re.match(r"\w*(PASSWORD|KEY|SECRET)\w*=", line):
            assert line.endswith("="), line
    for path in FILES:
        assert not re.search(r"AKIA[0-9A-Z]{16}|://\w+:[^@${\s]+@", path.read_text(encoding="utf-8")), path


# --- the image


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = text("Dockerfile.dockerignore").splitlines()
    copied = [
        words[:-1]
        for words in re.findall(r"^COPY (?:--chown=\S+ )?(?!--from)(.+)$", text("Dockerfile"), re.MULTILINE)
        for words in [words.split()]
    ]
    sources = [source.removeprefix("./") for sources in copied for source in sources]
    assert "requirements.lock" in sources
    for source in sources:
        assert (PROJECT / source).exists(), source
        assert f"!{source}" in ignored, source
    assert re.search(r"^USER (?!root)", text("Dockerfile"), re.MULTILINE)


def test_what_the_image_leaves_out_of_the_lock_is_for_development() -> None:
    (left_out,) = re.findall(r"grep -v -E '\^\(([^)]+)\)'", text("Dockerfile"))
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {
        re.split(r"[\[<>=;]", name)[0]
        for name in (*wanted["project"]["dependencies"], *wanted["build-system"]["requires"], "editables")
    }
    locked = [
        line for line in (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    kept = {line.partition("==")[0].lower().replace("_", "-") for line in locked if not re.match(left_out, line)}
    assert {name.lower() for name in needed} <= kept


# --- compose


def services() -> dict[str, Any]:
    found: dict[str, Any] = read("compose.yaml")["services"]
    return found


def ours() -> dict[str, Any]:
    return {name: service for name, service in services().items() if service["image"] == OURS}


def test_services_wait_for_what_can_say_that_it_is_ready() -> None:
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            awaited = services()[other]
            if how["condition"] == "service_healthy":
                assert awaited["healthcheck"]["test"][0] == "CMD", (name, other)
            else:
                assert how["condition"] == "service_completed_successfully" and awaited["restart"] == "no", (name, other)


def test_volumes_are_named_ones_or_files_of_ours() -> None:
    declared = set(read("compose.yaml")["volumes"])
    used = set()
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists() and volume.endswith(":ro"), volume
            else:
                used.add(source)
    assert used == declared


def test_nothing_is_published_beyond_this_machine_and_ports_match() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert len(published) == 2
    for name, service in ours().items():
        for port in service.get("ports", []):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1" and outside == inside == flag(service["command"], "--port"), name
        if any(address in str(service.get("healthcheck")) for address in ("127.0.0.1", "grpc-health-check")):
            assert flag(service["command"], "--port") in str(service["healthcheck"]["test"]), name


def flag(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def all_commands() -> Iterator[list[str]]:
    yield from (service["command"] for service in ours().values())
    yield from (container["command"] for name in ("service", "dagster") for container in task(name)["containerDefinitions"])
    for manifest in read("helm/values.yaml")["extraManifests"]:
        yield from (container["args"] for container in containers(manifest))


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"]
    spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
    found: list[dict[str, Any]] = spec["template"]["spec"]["containers"] if "template" in spec else []
    return found


def test_commands_exist_and_listen_where_they_are_looked_for() -> None:
    commands = list(all_commands())
    assert {command[0] for command in commands} == COMMANDS
    for command in commands:
        if "--port" in command:
            assert flag(command, "--port") == PORTS[command[0]]
            assert flag(command, "--host") == "0.0.0.0"
        if "--workspace" in command:
            assert flag(command, "--workspace") == "/app/deploy/workspace.yaml"
            assert "COPY deploy/workspace.yaml /app/deploy/workspace.yaml" in text("Dockerfile")
        if "--module-name" in command:
            assert flag(command, "--module-name") == "timestore_assets.definitions"
    assert read("workspace.yaml")["load_from"][0]["grpc_server"]["port"] == int(PORTS["dagster"])
    assert all(
        f" {port}" in next(line for line in text("Dockerfile").splitlines() if line.startswith("EXPOSE"))
        for port in PORTS.values()
    )


def test_what_the_compose_file_takes_from_the_environment_is_in_the_example() -> None:
    taken = set(re.findall(r"\$\{([A-Z0-9_]+)", text("compose.yaml")))
    given = set(re.findall(r"^([A-Z0-9_]+)=", text(".env.example"), re.MULTILINE))
    assert taken == given


def test_the_bucket_is_made_once(environment: dict[str, str]) -> None:
    for _ in range(2):
        runpy.run_path(str(DEPLOY / "compose" / "make_bucket.py"), run_name="__main__")
    assert "warehouse" in {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}


# --- AWS


def task(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(f"ecs/task-{name}.json"))
    return found


@pytest.mark.parametrize("name", ["service", "dagster"])
def test_ecs_takes_the_task_definition(name: str, environment: dict[str, str]) -> None:
    """boto3 checks names and types; the sizes are ones that Fargate has."""
    made = boto3.client("ecs").register_task_definition(**task(name))["taskDefinition"]
    assert made["family"] == f"timestore-{name}"
    cpu, memory = int(made["cpu"]), int(made["memory"])
    assert (cpu, memory) in {(2048, size) for size in range(4096, 16385, 1024)}
    names = {container["name"] for container in made["containerDefinitions"]}
    for container in made["containerDefinitions"]:
        assert {other["containerName"] for other in container.get("dependsOn", [])} <= names


def test_fargate_has_the_size_of_a_run() -> None:
    size = read("dagster.yaml")["run_launcher"]["config"]["run_resources"]
    assert (int(size["cpu"]), int(size["memory"])) in {(2048, memory) for memory in range(4096, 16385, 1024)}
    assert 21 <= size["ephemeral_storage"] <= 200


@pytest.mark.parametrize("name", ["service", "dagster", "execution"])
def test_iam_takes_the_policy_and_it_is_narrow(name: str, environment: dict[str, str]) -> None:
    document = json.loads(text(f"ecs/policy-{name}.json"))
    boto3.client("iam").create_policy(PolicyName=f"timestore-{name}", PolicyDocument=json.dumps(document))
    for statement in document["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not any("*" in action for action in actions)
        if statement["Resource"] == "*":
            assert all(re.search(r":(Describe|List|Get|Register)", action) for action in actions)


# --- Kubernetes


def test_the_values_name_one_image_one_account_and_matching_labels() -> None:
    values = read("helm/values.yaml")
    chart = re.search(r"--version (\S+)", text("helm/values.yaml"))
    assert chart is not None
    assert f"dagster=={chart.group(1)}" in (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    image = values["dagsterWebserver"]["image"]
    assert image == values["dagsterDaemon"]["image"] == values["dagster-user-deployments"]["deployments"][0]["image"]
    for manifest in values["extraManifests"]:
        for container in containers(manifest):
            assert container["image"] == f"{image['repository']}:{image['tag']}"
    deployment, service, _ = values["extraManifests"]
    assert (
        deployment["spec"]["selector"]["matchLabels"]
        == deployment["spec"]["template"]["metadata"]["labels"]
        == service["spec"]["selector"]
    )
    assert values["serviceAccount"]["name"] == values["global"]["serviceAccountName"]
    assert values["postgresql"]["enabled"] is values["rabbitmq"]["enabled"] is False
