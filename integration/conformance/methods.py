"""The names of the calls, to compare orders of them with."""

from __future__ import annotations

NETWORK, IPAM = "NetworkDriver.", "IpamDriver."

ACTIVATION = ["Plugin.Activate", NETWORK + "GetCapabilities", IPAM + "GetCapabilities"]

SPACES = IPAM + "GetDefaultAddressSpaces"
REQUEST_POOL, RELEASE_POOL = IPAM + "RequestPool", IPAM + "ReleasePool"
REQUEST, RELEASE = IPAM + "RequestAddress", IPAM + "ReleaseAddress"

SKIP = NETWORK + "GwAllocCheck"
CREATE_NETWORK, DELETE_NETWORK = NETWORK + "CreateNetwork", NETWORK + "DeleteNetwork"
CREATE, DELETE = NETWORK + "CreateEndpoint", NETWORK + "DeleteEndpoint"
JOIN, LEAVE = NETWORK + "Join", NETWORK + "Leave"
PROGRAM, REVOKE = NETWORK + "ProgramExternalConnectivity", NETWORK + "RevokeExternalConnectivity"
INFO = NETWORK + "EndpointOperInfo"

CONSTANT = frozenset({*ACTIVATION, SPACES})
"""Calls without a body, whose answers change nothing."""
