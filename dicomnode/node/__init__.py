"""The composition root: builds the parts from the configuration, starts, watches, drains, stops."""

from dicomnode.node.composition import ALL_ROLES, Endpoint, Node, Role
from dicomnode.node.triton import open_triton

__all__ = ("ALL_ROLES", "Endpoint", "Node", "Role", "open_triton")
