"""What callers may do as of the newest credentials."""

from __future__ import annotations

from dataclasses import replace

from holdfast.gateway.principal import Principal
from holdfast.shared.auth_store import AuthState


def current(principal: Principal, state: AuthState) -> Principal | None:
    """Return a caller with its limits as of these credentials; None if its own were revoked. Their expiry is not
    checked."""
    owner, key_id = principal.owner, principal.key_id
    if owner is None:
        return principal
    key = None if key_id is None else state.keys.get(key_id)
    if (key is None and key_id is not None) or principal.issued_at * 1000 <= state.revoked.get(owner.tenant, 0):
        return None
    rights = principal.rights if key is None else principal.rights.intersection(key.rights)
    limits = state.tenants.get(owner.tenant) or (None, None)
    agents, models = (None if names is None else frozenset(names) for names in limits)
    return replace(principal, rights=rights, agents=agents, models=models)
