"""Tenants, domains, accounts, credentials, rights."""
