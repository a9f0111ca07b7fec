"""The layout of the packages in a copy of the repository."""

from __future__ import annotations

from pathlib import Path

# Where a package is imported from, and where its folder is.
PLACES = {
    "holdfast/client": "clients/python/holdfast_client",
    "holdfast/gateway": "gateway",
    "holdfast/shared": "shared",
    "holdfast/worker": "worker",
    "gateway/client_js": "clients/js",
}


def has_one_import_name(tree: Path) -> bool:
    """Return whether the packages are imported as holdfast.*; in older commits each has a name of its own."""
    return (tree / "holdfast" / "cli").is_dir()


def lay_out(tree: Path) -> None:
    """Make the packages of a copy importable from the copy: an editable installation imports those of the checkout.

    A tree of an older commit is left as it is, or has no client."""
    if not has_one_import_name(tree):
        return
    for package, folder in PLACES.items():
        if (tree / folder).is_dir():
            (tree / package).symlink_to(tree / folder)
