"""The built-in agents: chat with the models of providers, a demo, and one for tests."""
