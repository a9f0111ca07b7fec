"""What the metrics of gateways and workers have in common."""
