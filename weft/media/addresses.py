"""`AddressRule`: to which network addresses weft connects for the media that clients name.

Clients must not reach machines through weft that they cannot reach themselves (server-side request forgery, CWE-918).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

_PORTS = (80, 443)                 # of public addresses: other ports belong to other protocols
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")      # an IPv4 address in its last 32 bits (RFC 6052)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRule:
    """Public addresses at the ports of HTTP, and the networks that the operator names, at any port.

    networks: such as "10.1.0.0/16" or "127.0.0.1". IPv4 addresses in the clothes of IPv6 (mapped, 6to4, Teredo) are
    refused always.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def allows(self, address: str, port: int) -> bool:
        """Whether weft may connect. address: a numeric one; a name of a host is refused."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and (found.ipv4_mapped or found.sixtofour or found.teredo):
            return False
        if any(found in network for network in self._networks):
            return True
        return port in _PORTS and _is_public(found)


def _is_public(address: Address) -> bool:
    if address in _NAT64:
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified
                                      or address.is_loopback or address.is_link_local)
