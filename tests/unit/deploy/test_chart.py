"""The Helm chart, rendered by a real Helm: what each kind of release is made of.

That its objects are valid Kubernetes, and how a release is installed and removed, is judged by
``make chart``.
"""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml

from tests.support.chart import CHART, EVERY, ROOT, kinds, pods, render, toml_of


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
