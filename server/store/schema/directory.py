"""Who owns mail: tenants, domains, accounts, addresses and their credentials."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from server.store.schema.base import id_column, int_column, life_columns, metadata, ref_column, text_column

tenants = Table(
    "tenants",
    metadata,
    id_column(),
    Column("name", Text, nullable=False, unique=True),
    text_column("display_name"),
    text_column("status"),
    *life_columns(),
)

domains = Table(
    "domains",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    Column("name", Text, nullable=False, unique=True),
    text_column("status"),
    text_column("catch_all", null=True),
    int_column("subaddressing"),
    int_column("max_message_size", null=True),
    int_column("require_tls_in"),
    int_column("require_tls_out"),
    int_column("quota_octets"),
    *life_columns(),
)

domain_aliases = Table(
    "domain_aliases",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    Column("name", Text, nullable=False, unique=True),
    ref_column("domain_id", "domains.id"),
    int_column("enabled"),
    *life_columns(),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    ref_column("domain_id", "domains.id"),
    text_column("selector"),
    text_column("algorithm"),
    text_column("state"),
    Column("sealed_key", LargeBinary, nullable=False),
    text_column("public_record"),
    int_column("created_at"),
    UniqueConstraint("domain_id", "selector"),
)

accounts = Table(
    "accounts",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    Column("domain_id", Text, ForeignKey("domains.id"), nullable=False, index=True),
    Column("address", Text, nullable=False, unique=True),
    text_column("display_name"),
    text_column("role"),
    text_column("status"),
    int_column("quota_octets"),
    int_column("used_octets"),
    int_column("modseq"),
    int_column("credential_version"),
    int_column("filter_version"),
    int_column("quota_warned"),
    text_column("forward", null=True),
    int_column("last_login_at", null=True),
    *life_columns(),
)

credentials = Table(
    "credentials",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    text_column("argon2"),
    Column("scram_salt", LargeBinary, nullable=False),
    int_column("scram_iterations"),
    Column("scram_stored_key", LargeBinary, nullable=False),
    Column("scram_server_key", LargeBinary, nullable=False),
    int_column("changed_at"),
)

aliases = Table(
    "aliases",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    Column("domain_id", Text, ForeignKey("domains.id"), nullable=False, index=True),
    Column("address", Text, nullable=False, unique=True),
    text_column("targets"),
    int_column("enabled"),
    int_column("internal_only"),
    text_column("description"),
    *life_columns(),
)

addresses = Table(
    "addresses",
    metadata,
    id_column("address"),
    ref_column("tenant_id", "tenants.id"),
    ref_column("domain_id", "domains.id"),
    text_column("kind"),
    Column("owner_id", Text, nullable=False, index=True),
    int_column("position"),
)
"""Every address that is taken, as `Address.key`; kind is `account` or `alias`, owner_id the account's or alias's id."""

app_passwords = Table(
    "app_passwords",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    text_column("name"),
    Column("secret_sha256", Text, nullable=False, index=True),
    Column("scram_salt", LargeBinary, nullable=False),
    int_column("scram_iterations"),
    Column("scram_stored_key", LargeBinary, nullable=False),
    Column("scram_server_key", LargeBinary, nullable=False),
    text_column("protocols"),
    int_column("created_at"),
    int_column("expires_at", null=True),
    int_column("last_used_at", null=True),
    text_column("last_used_ip", null=True),
    text_column("last_used_protocol", null=True),
    int_column("revoked_at", null=True),
)
"""Passwords of single devices: made by us, 128 random bits and more, so a plain hash is enough."""

bans = Table(
    "bans",
    metadata,
    id_column(),
    text_column("network"),
    text_column("account_id", null=True),
    text_column("reason"),
    text_column("made_by"),
    int_column("spares_known"),
    int_column("strikes"),
    int_column("created_at"),
    Column("expires_at", BigInteger, nullable=True, index=True),
)
"""Networks that may not log in, or not to one account; `strikes` counts bans in a row, for the next one's length,
`spares_known` lets accounts in that have logged in well from there."""

login_places = Table(
    "login_places",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("place", Text, primary_key=True),
    int_column("first_at"),
    int_column("last_at"),
    Index("ix_login_places_place", "place"),
)
"""Where accounts have logged in well: `place` is an IPv4 address or an IPv6 /64, as text that sorts by network."""

api_keys = Table(
    "api_keys",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    Column("lookup", Text, nullable=False, unique=True),
    text_column("secret_sha256"),
    text_column("previous_sha256", null=True),
    int_column("previous_until", null=True),
    text_column("name"),
    text_column("scopes"),
    int_column("system"),
    text_column("account_id", null=True),
    text_column("networks"),
    int_column("expires_at", null=True),
    int_column("last_used_at", null=True),
    text_column("last_used_ip", null=True),
    int_column("created_at"),
    int_column("revision"),
    int_column("revoked_at", null=True),
)
