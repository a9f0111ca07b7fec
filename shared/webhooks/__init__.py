"""What gateways and workers must agree on about webhooks. docs/webhooks.md describes them."""
