"""The statement: all sections in the order of PS3.2 Annex N; and its facts for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dicomnode import __version__
from dicomnode.config import Config
from dicomnode.conformance import statuses
from dicomnode.conformance.annexes import write_annexes
from dicomnode.conformance.contexts import accepted_contexts, activities, web_destinations
from dicomnode.conformance.markdown import Page
from dicomnode.conformance.model import write_model, write_services
from dicomnode.conformance.network import write_network
from dicomnode.conformance.overview import write_overview
from dicomnode.conformance.sent import sent_objects
from dicomnode.conformance.site import write_configuration, write_security
from dicomnode.pipeline.setup import build_setups
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def write_statement(config: Config) -> str:
    """Return the conformance statement of a configuration, in Markdown.

    Raises
    ------
    ConfigError
        If a pipeline names a model that is not there.
    ManifestInvalid
        If a manifest cannot be used.
    """
    setups = build_setups(config)
    page = Page()
    write_overview(page, config)
    write_model(page, config)
    write_services(page, config)
    write_configuration(page, config)
    write_network(page, config)
    write_security(page, config)
    write_annexes(page, setups)
    return page.markdown()


def facts(config: Config) -> dict[str, Any]:
    """Return what is negotiated and answered, for programs."""
    return {
        "version": __version__,
        "implementation_class_uid": IMPLEMENTATION_CLASS_UID,
        "implementation_version_name": IMPLEMENTATION_VERSION_NAME,
        "application_entities": [
            {
                "ae_title": pipeline.ae_title,
                "pipeline": name,
                "accepts": [asdict(each) for each in accepted_contexts(config)[name]],
            }
            for name, pipeline in config.pipelines.items()
        ],
        "initiates": [asdict(each) for each in activities(config)],
        "web_services": {
            name: {"url": each.url, "objects": [asdict(o) for o in sent_objects(each)]}
            for name, each in web_destinations(config).items()
        },
        "store_statuses": [status for status, _, _ in statuses.answered_to_store(config)],
    }
