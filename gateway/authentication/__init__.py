"""Authentication: API keys, JWTs and tickets."""
