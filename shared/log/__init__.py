"""The log of a session: its entries, reading, and writing under the fence of an attempt."""
