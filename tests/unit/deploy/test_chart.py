"""The Helm chart, rendered by a real Helm: what a release is made of, and what is refused.

That its objects are valid Kubernetes, and how a release is installed and removed, is judged by
``make chart``.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.config import load

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "dicomnode"
SETS = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").iterdir()}
EVERY = [None, *sorted(SETS)]
PODS = {"Deployment", "StatefulSet", "Job", "Pod"}


def helm(*arguments):
    return subprocess.run(
        [ROOT / "tools" / "helm", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def flags(values, changes):
    if isinstance(values, str):
        yield from ("--values", SETS[values])
    for name, value in changes.items():
        yield from ("--set-json", f"{name.replace('__', '.')}={json.dumps(value)}")


@cache
def _template(*arguments):
    return helm("template", "demo", CHART, "--namespace", "ns", *arguments)


def template(values=None, **changes):
    return _template(*flags(values, changes))


def render(values=None, **changes):
    """Return a release's objects by kind and name; `changes` are values by path, dots doubled."""
    done = template(values, **changes)
    assert done.returncode == 0, done.stderr
    return {
        (each["kind"], each["metadata"]["name"]): each
        for each in yaml.safe_load_all(done.stdout)
        if each
    }


def refused(values=None, **changes):
    """Return the sentences with which a release is refused."""
    done = template(values, **changes)
    assert done.returncode != 0
    return done.stderr


def pods(objects):
    """Yield name and pod specification of whatever makes pods."""
    for (kind, name), each in objects.items():
        if kind in PODS:
            yield name, each["spec"] if kind == "Pod" else each["spec"]["template"]["spec"]


def kinds(objects):
    return {kind for kind, _ in objects}


def toml_of(objects):
    return objects["ConfigMap", "demo-dicomnode"]["data"]["dicomnode.toml"]


# --- the node's configuration


@pytest.fixture
def mounted(tmp_path):
    """Write a release's configuration as if it were mounted: with every file that it names."""

    def write(objects):
        text = toml_of(objects)
        for folder in ("/etc/dicomnode", "/srv"):
            text = text.replace(f'"{folder}/', f'"{tmp_path}{folder}/')
        for path in map(Path, re.findall(rf'"({tmp_path}/etc/[^"]+)"', text)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("postgresql://node@db/node\n")
        _certificate(tmp_path)
        for path in (tmp_path / "etc" / "dicomnode").rglob("*"):
            if path.suffix in {".crt", ".key"}:
                path.write_bytes((tmp_path / f"node{path.suffix}").read_bytes())
        for name in ("models", "manifests"):
            (tmp_path / "srv" / name).mkdir(parents=True, exist_ok=True)
        path = tmp_path / "dicomnode.toml"
        path.write_text(text)
        return path

    return write


def _certificate(folder):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", folder / "node.key", "-out", folder / "node.crt"),
            *("-days", "2", "-subj", "/CN=node"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("values", EVERY)
def test_the_nodes_configuration_has_no_faults(values, mounted):
    path = mounted(render(values))

    done = CliRunner().invoke(app, ["config", "check", "--config", str(path)])

    assert (done.exit_code, done.stderr) == (0, "")


def test_it_holds_what_the_site_says_and_what_the_chart_knows(mounted):
    config = load(mounted(render("distributed")))

    assert config.drain_seconds == 90.5
    assert config.receive.max_instance_bytes == 4_000_000_000
    assert [each.ae_title for each in config.receive.allowed_callers] == [
        "PACS",
        "0042",
        "HELMTEST",
    ]
    assert config.receive.tls is not None
    assert config.console.access.patients == "operators"
    assert config.console.access.asks
    assert config.inference.triton == "demo-dicomnode-triton:8001"
    assert config.database.url == "postgresql://node@db/node"
    condition = config.pipelines["chest-ct"].selection.conditions[0]
    assert condition.regex == '^(B30|"STANDARD"|<x>)$'


AWKWARD = {
    "text": 'quotes " and \\ and \t and ü and <&>',
    "looks_like_a_number": "0042",
    "looks_like_a_truth": "no",
    "whole": 4_000_000_000,
    "fraction": 0.25,
    "negative": -3,
    "truth": False,
    "empty": [],
    "nested": [["a"], ["b", "c"]],
    "of tables": [{"ae title": "A", "hosts": ["x"]}, {}],
    "a.b": {"c d": {"e": 1}, "f": {}},
}


def test_values_reach_the_node_as_they_are():
    found = tomllib.loads(toml_of(render(config__telemetry=AWKWARD)))

    assert found["telemetry"] == AWKWARD
    assert isinstance(found["telemetry"]["whole"], int)


def test_nothing_is_written_for_what_a_site_takes_out():
    table = {"gone": {"ae_title": "A", "destinations": ["x"]}}
    kept = render(config__pipelines=table)
    assert "gone" in tomllib.loads(toml_of(kept))["pipelines"]

    assert "gone" not in toml_of(render(config__pipelines={"gone": None}))


def test_a_changed_configuration_makes_new_pods():
    def checksum(objects):
        (spec,) = (each for (kind, _), each in objects.items() if kind == "StatefulSet")
        return spec["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum(render()) == checksum(render(single__resources={}))
    assert checksum(render()) != checksum(render(config__drain_seconds=61))


def test_helms_test_may_verify_and_nothing_else():
    callers = tomllib.loads(toml_of(render()))["receive"]["allowed_callers"]
    without = tomllib.loads(toml_of(render(test__enabled=False)))["receive"]["allowed_callers"]

    assert [each["ae_title"] for each in callers if each.get("verification_only")] == ["HELMTEST"]
    assert without == callers[:1]


# --- every pod


@pytest.mark.parametrize("values", EVERY)
def test_every_pod_fits_the_restricted_profile(values):
    for name, spec in pods(render(values)):
        context = spec["securityContext"]
        assert context["runAsNonRoot"], name
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@pytest.mark.parametrize("values", EVERY)
def test_no_variable_of_a_service_is_taken_for_configuration(values):
    assert all(spec["enableServiceLinks"] is False for _, spec in pods(render(values)))


@pytest.mark.parametrize("values", EVERY)
def test_every_pod_says_what_it_needs(values):
    for name, spec in pods(render(values)):
        for container in spec["containers"]:
            assert "memory" in container["resources"]["limits"], name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


@pytest.mark.parametrize(("values", "drain_seconds"), [(None, 60), ("distributed", 90.5)])
def test_a_pod_is_given_longer_to_stop_than_its_drains_take(values, drain_seconds):
    given = [
        spec["terminationGracePeriodSeconds"]
        for _, spec in pods(render(values))
        if spec["containers"][0]["name"] == "dicomnode"
    ]

    assert given
    # Receiver and workers of one process drain one after the other.
    assert all(each > 2 * drain_seconds + 5 for each in given)


@pytest.mark.parametrize("values", EVERY)
def test_probes_ask_where_the_node_answers(values):
    objects = render(values)
    health = tomllib.loads(toml_of(objects))["health"]

    for name, spec in pods(objects):
        for container in spec["containers"]:
            if container["name"] != "dicomnode":
                continue
            port = next(each for each in container["ports"] if each["name"] == "health")
            assert port["containerPort"] == health["port"], name
            asked = {
                kind: container[f"{kind}Probe"]["httpGet"]
                for kind in ("startup", "liveness", "readiness")
            }
            assert asked["liveness"] == asked["startup"] == {"path": "/healthz", "port": "health"}
            assert asked["readiness"] == {"path": "/readyz", "port": "health"}


@pytest.mark.parametrize("values", EVERY)
def test_every_claim_secret_and_map_that_is_mounted_has_a_volume(values):
    for name, spec in pods(render(values)):
        volumes = {each["name"] for each in spec.get("volumes", ())}
        for container in spec["containers"]:
            mounts = {each["name"] for each in container["volumeMounts"]}
            assert mounts <= volumes, name


@pytest.mark.parametrize("values", EVERY)
def test_services_find_pods_and_ports(values):
    objects = render(values)
    made = [
        (each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"])
        for (kind, _), each in objects.items()
        if kind in {"Deployment", "StatefulSet"}
    ]

    for (kind, name), service in objects.items():
        if kind != "Service":
            continue
        selected = [
            spec for labels, spec in made if service["spec"]["selector"].items() <= labels.items()
        ]
        assert selected, name
        wanted = {each["targetPort"] for each in service["spec"]["ports"]}
        for spec in selected:
            assert wanted <= {each["name"] for each in spec["containers"][0]["ports"]}


# --- what a release is made of


def test_a_single_node_is_one_pod_with_a_volume_that_stays():
    objects = render()

    assert [name for name, _ in pods(objects)] == ["demo-dicomnode", "demo-dicomnode-echo"]
    assert objects["StatefulSet", "demo-dicomnode"]["spec"]["replicas"] == 1
    claim = objects["PersistentVolumeClaim", "demo-dicomnode-data"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert kinds(objects).isdisjoint({"HorizontalPodAutoscaler", "PodDisruptionBudget", "Job"})


def test_roles_apart_share_a_volume_and_a_database():
    objects = render("distributed")

    roles = {
        spec["containers"][0]["args"][0]
        for name, spec in pods(objects)
        if spec["containers"][0]["name"] == "dicomnode"
    }
    assert roles == {"receive", "work", "console"}
    claim = objects["PersistentVolumeClaim", "demo-dicomnode-data"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    # With a scaler the number of workers is the scaler's alone.
    assert "replicas" not in objects["Deployment", "demo-dicomnode-work"]["spec"]
    scaler = objects["HorizontalPodAutoscaler", "demo-dicomnode-work"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "demo-dicomnode-work"
    budgets = {name for kind, name in objects if kind == "PodDisruptionBudget"}
    assert budgets == {
        f"demo-dicomnode-{each}" for each in ("receive", "work", "console", "triton")
    }


def test_beside_a_bucket_each_pod_has_a_disk_of_its_own():
    objects = render("s3")
    work = objects["Deployment", "demo-dicomnode-work"]["spec"]["template"]["spec"]
    (data,) = (each for each in work["volumes"] if each["name"] == "data")

    assert data["ephemeral"]["volumeClaimTemplate"]["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local",
        "resources": {"requests": {"storage": "20Gi"}},
    }
    assert "PersistentVolumeClaim" not in kinds(objects)
    assert tomllib.loads(toml_of(objects))["storage"]["bucket"] == "dicomnode"


def test_the_database_is_upgraded_before_the_release_with_the_secret_alone():
    objects = render("distributed")
    job = objects["Job", "demo-dicomnode-migrate"]
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert container["args"] == ["database", "upgrade"]
    assert {"configMap", "persistentVolumeClaim"}.isdisjoint(
        key for volume in spec["volumes"] for key in volume
    )
    # The service account is part of the release that is not there yet.
    assert "serviceAccountName" not in spec


@pytest.mark.parametrize("values", EVERY)
def test_secrets_come_by_file(values):
    objects = render(values)
    variables = {
        each["name"]
        for _, spec in pods(objects)
        for container in spec["containers"]
        for each in container.get("env", ())
    }

    assert "Secret" not in kinds(objects)
    assert variables <= {"HOME", "DICOMNODE_DATABASE__URL_FILE"}


@pytest.mark.parametrize(
    ("values", "kind", "port"), [(None, "NodePort", 11112), ("distributed", "LoadBalancer", 104)]
)
def test_senders_keep_their_addresses(values, kind, port):
    spec = render(values)["Service", "demo-dicomnode-receive"]["spec"]

    assert (spec["type"], spec["ports"][0]["port"]) == (kind, port)
    assert spec["externalTrafficPolicy"] == "Local"


def test_a_single_node_is_sent_to_while_its_triton_is_away():
    spec = render()["Service", "demo-dicomnode-receive"]["spec"]

    assert spec["publishNotReadyAddresses"] is True


def test_the_console_is_reached_by_nobody_until_somebody_is_asked():
    closed = render()
    asked = render(console__access__secretName="people")

    assert tomllib.loads(toml_of(closed))["console"]["host"] == "127.0.0.1"
    assert ("Service", "demo-dicomnode-console") not in closed
    assert tomllib.loads(toml_of(asked))["console"] == {
        "host": "0.0.0.0",  # noqa: S104  (of the pod)
        "port": 8080,
        "access": {"password_file": "/etc/dicomnode/access/passwords"},
    }
    assert ("Service", "demo-dicomnode-console") in asked


def test_triton_gets_its_gpu_its_models_and_the_nodes_alone_as_callers():
    objects = render("distributed")
    (container,) = objects["Deployment", "demo-dicomnode-triton"]["spec"]["template"]["spec"][
        "containers"
    ]

    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["command"] == ["tritonserver"]
    assert container["args"][:2] == [
        "--model-repository=/models",
        "--model-repository=/srv/models",
    ]
    policy = objects["NetworkPolicy", "demo-dicomnode-triton"]["spec"]
    calls = next(each for each in policy["ingress"] if each["ports"][0]["port"] == "grpc")
    assert calls["from"] == [
        {
            "podSelector": {
                "matchLabels": {
                    "app.kubernetes.io/name": "dicomnode",
                    "app.kubernetes.io/instance": "demo",
                }
            }
        }
    ]


def test_models_in_s3_have_their_manifests_on_the_node():
    objects = render("s3")
    (container,) = objects["Deployment", "demo-dicomnode-triton"]["spec"]["template"]["spec"][
        "containers"
    ]

    assert "--model-repository=s3://https://minio.example.org:9000/models" in container["args"]
    assert "--model-repository=/models" not in container["args"]
    assert container["envFrom"] == [{"secretRef": {"name": "minio"}}]
    work = objects["Deployment", "demo-dicomnode-work"]["spec"]["template"]["spec"]
    (manifests,) = (each for each in work["volumes"] if each["name"] == "manifests")
    assert manifests["configMap"]["items"] == [{"key": "heart.toml", "path": "heart/manifest.toml"}]
    assert tomllib.loads(toml_of(objects))["inference"]["model_repositories"] == ["/srv/manifests"]


def test_restricted_pods_reach_what_is_configured():
    rules = render("distributed")["NetworkPolicy", "demo-dicomnode"]["spec"]["egress"]
    ports = {port["port"]: rule.get("to") for rule in rules for port in rule.get("ports", ())}

    assert set(ports) == {53, 5432, 104, 443}
    assert ports[104] == [{"ipBlock": {"cidr": "198.51.100.10/32"}}]


def test_monitoring_carries_the_projects_own_rules_and_dashboard():
    objects = render("distributed")

    rule = objects["PrometheusRule", "demo-dicomnode"]["spec"]
    assert [each["name"] for each in rule["groups"]] == ["dicomnode"]
    board = objects["ConfigMap", "demo-dicomnode-dashboard"]
    assert json.loads(board["data"]["dicomnode.json"])["title"] == "dicomnode"
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_files_of_the_chart_are_those_of_the_project(name):
    # Helm reads nothing outside the chart: `cp config/monitoring/* deploy/helm/dicomnode/files`.
    ours = ROOT / "config" / "monitoring" / name

    assert (CHART / "files" / name).read_bytes() == ours.read_bytes()


def test_the_chart_is_of_this_version():
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(
        r'^__version__ = "(.+)"', (ROOT / "dicomnode" / "__init__.py").read_text(), re.MULTILINE
    )[1]

    assert described["appVersion"] == version


# --- the page on deploying


PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_the_pages_values_are_values(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "site.yaml"
    path.write_text(block)

    done = helm("template", "dicomnode", CHART, "--values", path)

    assert done.returncode == 0, done.stderr
    assert "registry.example.org/radiology/dicomnode:0.1.0" in done.stdout
    assert "CHESTCT@dicomnode-receive:11112" in done.stdout


def test_what_the_page_sets_can_be_set():
    lines = [line for line in PAGE.splitlines() if line.startswith("    helm ") and "--set" in line]
    assert len(lines) == 2

    for line in lines:
        given = re.findall(r"--set \S+", line)
        done = helm("template", "demo", CHART, *" ".join(given).split())
        assert done.returncode == 0, done.stderr


def test_the_page_names_pods_as_they_will_be_called():
    one, many = (
        re.findall(r"^    (dicomnode\S*?)(?:-[0-9a-f]{8,10}-\w{5}|-0)? +1/1 ", text, re.MULTILINE)
        for text in PAGE.partition("and in `mode: distributed`")[::2]
    )
    site = ("--set", "database.secretName=d", "--set", "triton.mode=deployment")
    done = helm("template", "dicomnode", CHART, "--set", "mode=distributed", *site)
    made = {
        each["metadata"]["name"]
        for each in yaml.safe_load_all(done.stdout)
        if each and each["kind"] == "Deployment"
    }

    assert one == ["dicomnode"]
    assert set(many) == made


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"config__receive__allowed_callers": []}, "config.receive.allowed_callers: Array must"),
        ({"replicas": 3}, "Additional property replicas is not allowed"),
        ({"config__recieve": {}}, "config: Additional property recieve is not allowed"),
        ({"mode": "cluster"}, 'mode must be one of the following: "single", "distributed"'),
        ({"receive__service__port": "104"}, "receive.service.port: Invalid type"),
        ({"receive__service__port": 0}, "receive.service.port: Must be greater"),
        ({"config__pipelines": {"a": {"ae_title": "A"}}}, "destinations is required"),
        ({"triton__mode": "sometimes"}, "triton.mode must be one of"),
        ({"triton__address": "triton"}, "triton.address: Does not match pattern"),
        ({"console__ingress__enabled": True}, "console.ingress.host: String length must"),
        ({"image__digest": "latest"}, "image.digest: Does not match pattern"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_schema_refuses_what_is_no_value(changes, sentence):
    assert sentence in refused(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"mode": "distributed"},
            "database.secretName: mode distributed wants a Secret with the URL of a PostgreSQL",
        ),
        (
            {"config__receive__port": 104},
            "config.receive.port: is the chart's own; set receive.service.port",
        ),
        (
            {"config__inference": {"triton": "x:1"}},
            "config.inference.triton: is the chart's own; set triton.mode",
        ),
        (
            {"config__storage": {"bucket": "b"}},
            "database.secretName: a bucket wants a Secret with the URL of a PostgreSQL database",
        ),
        ({"triton__mode": "external"}, "triton.address: mode external wants HOST:PORT"),
        ({"triton__address": "x:8001"}, "triton.address: is for triton.mode external"),
        (
            {"triton__models__s3__url": "s3://bucket"},
            "triton.models.s3: is for triton.mode deployment, found embedded",
        ),
        (
            {"console__ingress": {"enabled": True, "host": "x.example"}},
            "console.ingress.enabled: nobody would be asked who they are",
        ),
        (
            {"config__receive__users": [{"name": "a", "password_file": "/x"}]},
            "test.enabled: config.receive.users wants a name and a password of everybody",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_that_want_each_other_are_refused_in_words(changes, sentence):
    assert sentence in refused(**changes)


def test_all_faults_are_told_at_once():
    told = refused(mode="distributed", triton__mode="external", config__receive__port=104)

    assert {"database.secretName", "triton.address", "config.receive.port"} <= set(
        re.findall(r"^([\w.]+):", told, re.MULTILINE)
    )


def test_the_schema_knows_every_value_and_no_other():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert _unknown(values, schema, schema) == []
    assert schema["properties"].keys() - values.keys() == {"global"}


def _unknown(values, schema, whole, path=""):
    if "$ref" in schema:
        schema = whole["definitions"][schema["$ref"].rpartition("/")[2]]
    found = []
    for name, value in values.items():
        known = schema.get("properties", {})
        if name in known and isinstance(value, dict):
            found += _unknown(value, known[name], whole, f"{path}{name}.")
        elif name not in known and schema.get("additionalProperties") is False:
            found.append(f"{path}{name}")
    return found
