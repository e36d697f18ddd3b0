"""Group-wide services: one file each, on `base`."""
