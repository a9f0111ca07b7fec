"""ASGI layers that every request passes before it reaches a route. gateway/app.py lists them."""
