"""Deliveries of webhooks. docs/webhooks.md describes them."""
