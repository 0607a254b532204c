"""What holds for every pod and service of every kind of release."""

from __future__ import annotations

import tomllib

import pytest

from tests.support.chart import EVERY, pods, render, toml_of


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
