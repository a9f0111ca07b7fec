"""The `holdfast` command: its subcommands and what they need."""
