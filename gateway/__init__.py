"""The gateway: HTTP requests and event streams. Stateless; everything that lasts is in Redis."""
