"""What agents import, and how they are registered."""
