"""The routes of the HTTP API and of the web page, and the bodies that they read and write."""
