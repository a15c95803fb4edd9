"""The outbound queue: claims, couriers, retries, DSNs."""
