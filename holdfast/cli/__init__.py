"""The subcommands of `holdfast` and their helpers."""
